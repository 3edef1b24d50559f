// Form fields with a label, a value and an error; for both forms of the page.

import { element, setText } from './dom.js';

const QUIET_MS = 1500; // after a change by the user, other values wait

/**
 * spec: {name, label, kind, value, default, low, high, least, most, step, choices, text, unit};
 * least, most: of a slider, if narrower than low and high; onChange(value, settled)
 */
export class Field {
  constructor(spec, prefix, onChange) {
    this.spec = spec;
    this.touched = -Infinity;
    this.isTyped = false; // a number being typed must not be overwritten
    this.onChange = onChange;
    const id = `${prefix}-${spec.name.replaceAll('.', '-')}`;
    this.input = this.makeInput(id);
    this.output = element('output', { 'for': id });
    this.error = element('p', { className: 'error', id: `${id}-error`, role: 'alert' });
    this.hint = element('p', { className: 'hint' });
    const label = element('label', { htmlFor: id }, spec.label);
    const beside = this.input.type === 'range' ? [this.output, this.input] : [this.input];
    this.root = element('div', { className: 'control' }, label, ...beside, this.hint, ...this.makeHelp(id), this.error);
    this.show(spec.value);
  }

  /** The ROS name, a help text, and a button that resets to the default. */
  makeHelp(id) {
    const { spec } = this;
    if (!spec.text) return [];
    const help = element('div', { className: 'help', id: `${id}-help`, hidden: true }, ...helpParagraphs(spec));
    const helpButton = element('button', { type: 'button', className: 'small', 'aria-expanded': 'false', 'aria-controls': help.id, 'aria-label': `Help on ${spec.label}` }, '?');
    helpButton.addEventListener('click', () => {
      help.hidden = !help.hidden;
      helpButton.setAttribute('aria-expanded', String(!help.hidden));
    });
    this.back = element('button', { type: 'button', className: 'small', 'aria-label': `Reset ${spec.label} to ${formatValue(spec, spec.default)}`, hidden: true }, 'Reset');
    this.back.addEventListener('click', () => {
      this.set(spec.default);
      this.changed(spec.default, true);
    });
    return [element('div', { className: 'tools' }, element('code', {}, spec.name), this.back, helpButton), help];
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
    const [least, most] = [spec.least ?? spec.low, spec.most ?? spec.high];
    // A slider cannot show unknown.
    const bounded = spec.default !== null && Number.isFinite(least) && Number.isFinite(most);
    const step = spec.step ?? (spec.kind === 'int' ? 1 : bounded ? (most - least) / 100 : 0.01);
    if (bounded) {
      const slider = element('input', { ...common, type: 'range', min: least, max: most, step });
      slider.addEventListener('input', () => this.changed(slider.valueAsNumber, false));
      slider.addEventListener('change', () => this.changed(slider.valueAsNumber, true));
      return slider;
    }
    // Any step: values set elsewhere must not count as invalid.
    const number = element('input', { ...common, type: 'number', step: 'any', placeholder: 'unknown', inputMode: 'decimal' });
    number.addEventListener('input', () => { this.isTyped = true; });
    number.addEventListener('blur', () => {
      this.isTyped = false;
      if (number.validity.badInput) this.refuse('not a number');
    });
    number.addEventListener('change', () => {
      // Half a number has the value of an empty field, which means unknown.
      if (number.validity.badInput) this.refuse('not a number');
      else this.changed(number.value === '' ? null : number.valueAsNumber, true);
    });
    return number;
  }

  changed(value, settled) {
    this.touched = performance.now();
    this.isTyped = false;
    this.describe(value);
    this.onChange(value, settled);
  }

  /** Show a value set elsewhere; while the user is editing, later. */
  show(value) {
    if (this.isTyped || performance.now() - this.touched < QUIET_MS) {
      this.spec.value = value;
      clearTimeout(this.later);
      this.later = setTimeout(() => this.show(this.spec.value), QUIET_MS);
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
    if (this.input.type === 'range') setText(this.output, formatValue(this.spec, value));
    if (this.back) this.back.hidden = value === this.spec.default;
    const degrees = this.spec.unit === 'rad' && Number.isFinite(value) ? `${((value * 180) / Math.PI).toFixed(1)}°` : '';
    setText(this.hint, this.input.type === 'number' ? [this.spec.unit, degrees].filter(Boolean).join(', ') : '');
  }

  /** Show why a value was refused, and restore the old one. */
  refuse(reason) {
    setText(this.error, reason);
    this.input.setAttribute('aria-invalid', reason ? 'true' : 'false');
    if (reason) {
      this.touched = -Infinity;
      this.isTyped = false;
      this.set(this.spec.value);
    }
  }
}

/** A value with its unit, as text. */
export function formatValue({ unit, kind }, value) {
  if (value === null || value === undefined) return 'unknown';
  if (Array.isArray(value)) return value.join(', ');
  if (kind === 'string') return value === '' ? 'empty' : value;
  const text = typeof value === 'number' ? String(+value.toPrecision(6)) : String(value);
  return unit ? `${text} ${unit}` : text;
}

/** What a parameter does, its allowed values, its default, and when it is read. */
export function helpParagraphs(spec) {
  const { low, high, choices, kind, live } = spec;
  const bound = (value) => formatValue(spec, value);
  let allowed = kind;
  if (choices?.length) allowed = `one of ${choices.join(', ')}`;
  else if (Number.isFinite(low) && Number.isFinite(high)) allowed = `${kind}, ${+low.toPrecision(6)} to ${bound(high)}`;
  else if (Number.isFinite(low)) allowed = `${kind}, at least ${bound(low)}`;
  else if (Number.isFinite(high)) allowed = `${kind}, at most ${bound(high)}`;
  const read = live ? 'takes effect immediately' : 'read when the node is configured';
  return [
    element('p', {}, spec.text),
    element('p', {}, `${allowed}; default ${bound(spec.default)}; ${read}.`),
  ];
}

/** Call a function at most once per period; the last call is never lost. */
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
