// Form fields with a label, a value beside it and a place for a refusal; for both forms of the page.

import { element, say } from './dom.js';

const QUIET_MS = 1500; // after a person's own change, values from outside wait

/** spec: {name, label, kind, value, low, high, step, choices, text, unit}; onChange(value, settled) */
export class Field {
  constructor(spec, prefix, onChange) {
    this.spec = spec;
    this.touched = -Infinity;
    this.onChange = onChange;
    const id = `${prefix}-${spec.name.replaceAll('.', '-')}`;
    this.input = this.makeInput(id);
    this.output = element('output', { 'for': id });
    this.error = element('p', { className: 'error', id: `${id}-error`, role: 'alert' });
    this.hint = element('p', { className: 'hint' });
    const label = element('label', { htmlFor: id, title: spec.text ?? '' }, spec.label);
    const beside = this.input.type === 'range' ? [this.output, this.input] : [this.input];
    this.root = element('div', { className: 'control' }, label, ...beside, this.hint, this.error);
    this.show(spec.value);
  }

  makeInput(id) {
    const { spec } = this;
    const common = { id, name: spec.name, 'aria-describedby': `${id}-error` };
    if (spec.choices?.length) {
      const select = element('select', common, ...spec.choices.map((name) => element('option', { value: name }, name)));
      select.addEventListener('change', () => this.changed(select.value, true));
      return select;
    }
    if (spec.kind === 'bool') {
      const box = element('input', { ...common, type: 'checkbox' });
      box.addEventListener('change', () => this.changed(box.checked, true));
      return box;
    }
    const bounded = Number.isFinite(spec.low) && Number.isFinite(spec.high);
    const step = spec.step ?? (spec.kind === 'int' ? 1 : bounded ? (spec.high - spec.low) / 100 : 0.01);
    if (bounded) {
      const slider = element('input', { ...common, type: 'range', min: spec.low, max: spec.high, step });
      slider.addEventListener('input', () => this.changed(slider.valueAsNumber, false));
      slider.addEventListener('change', () => this.changed(slider.valueAsNumber, true));
      return slider;
    }
    // Any step: a value from elsewhere must not be called invalid.
    const number = element('input', { ...common, type: 'number', step: 'any', placeholder: 'unknown', inputMode: 'decimal' });
    number.addEventListener('change', () => this.changed(number.value === '' ? null : number.valueAsNumber, true));
    return number;
  }

  changed(value, settled) {
    this.touched = performance.now();
    this.describe(value);
    this.onChange(value, settled);
  }

  /** A value from outside; one's own hand comes first. */
  show(value) {
    if (performance.now() - this.touched < QUIET_MS) {
      this.spec.value = value;
      return;
    }
    this.set(value);
  }

  set(value) {
    this.spec.value = value;
    if (this.input.type === 'checkbox') this.input.checked = Boolean(value);
    else if (this.input.type === 'number') {
      this.input.value = value === null ? '' : String(+Number(value).toPrecision(6));
    } else this.input.value = String(value);
    this.describe(value);
  }

  describe(value) {
    if (this.input.type === 'range') say(this.output, `${+Number(value).toPrecision(4)}${this.unit()}`);
    const degrees = this.unit() === ' rad' && Number.isFinite(value) ? `${((value * 180) / Math.PI).toFixed(1)}°` : '';
    say(this.hint, this.input.type === 'number' ? [this.unit().trim(), degrees].filter(Boolean).join(', ') : '');
  }

  unit() {
    const found = /\[([^\]]+)\]$/.exec(this.spec.text ?? '');
    return found ? ` ${found[1]}` : '';
  }

  /** Why a value was refused; the old one comes back. */
  refuse(reason) {
    say(this.error, reason);
    this.input.setAttribute('aria-invalid', reason ? 'true' : 'false');
    if (reason) {
      this.touched = -Infinity;
      this.set(this.spec.value);
    }
  }
}

/** Call at most every so often; the last call is never lost. */
export function throttled(function_, period) {
  let timer = null;
  let last = -Infinity;
  return (...args) => {
    clearTimeout(timer);
    const wait = Math.max(0, last + period - performance.now());
    timer = setTimeout(() => {
      last = performance.now();
      function_(...args);
    }, wait);
  };
}
