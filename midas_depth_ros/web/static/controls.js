// The depth node's parameters: a form for those that can be set, where the node's refusal is shown below
// the field; a list of the others; and all of them as a file.

import { request, byId, element, post, setText } from './dom.js';
import { helpParagraphs, Field, throttled, formatValue } from './fields.js';

const PERIOD_MS = 150;
const FILE_PERIOD_MS = 1000;

export class Controls {
  constructor() {
    this.form = byId('controls');
    this.form.addEventListener('submit', (event) => event.preventDefault());
    this.fields = new Map();
    this.shape = '';
    this.others = new OtherParameters();
    this.file = new ParameterFile();
  }

  /** parameters, others: as the node describes them, or null without a node. */
  show(parameters, others) {
    const shape = JSON.stringify((parameters ?? []).map(({ value, ...rest }) => rest));
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(parameters ?? []);
    }
    for (const { name, value } of parameters ?? []) this.fields.get(name)?.show(value);
    this.others.show(others ?? []);
    this.file.show(Boolean(parameters && others));
  }

  build(parameters) {
    this.fields = new Map();
    if (!parameters.length) {
      this.form.replaceChildren(element('p', { className: 'dim' }, 'No depth node running.'));
      return;
    }
    const groups = new Map();
    for (const spec of parameters) {
      const field = new Field({ ...spec }, 'parameter', this.setter(spec.name));
      this.fields.set(spec.name, field);
      if (!groups.has(spec.group)) groups.set(spec.group, element('fieldset', {}, element('legend', {}, spec.group)));
      groups.get(spec.group).append(field.root);
    }
    this.form.replaceChildren(...groups.values());
  }

  setter(name) {
    return throttled(async (value) => {
      const field = this.fields.get(name);
      try {
        await post('api/parameters', { name, value });
        field?.refuse('');
        if (field) field.spec.value = value;
      } catch (error) {
        field?.refuse(error.message);
      }
    }, PERIOD_MS);
  }
}

/** The parameters that cannot be set here. */
class OtherParameters {
  constructor() {
    this.values = new Map();
    this.shape = '';
    this.list = byId('others-list');
    this.search = byId('others-search');
    this.search.addEventListener('input', () => this.filter());
  }

  show(parameters) {
    byId('others').hidden = !parameters.length;
    const shape = JSON.stringify(parameters.map(({ value, ...rest }) => rest));
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(parameters);
    }
    for (const spec of parameters) setText(this.values.get(spec.name), formatValue(spec, spec.value));
  }

  build(parameters) {
    this.values = new Map(parameters.map(({ name }) => [name, element('span', {})]));
    this.list.replaceChildren(...parameters.map((spec) => element('details', { className: 'other', 'data-name': spec.name },
      element('summary', {}, element('code', {}, spec.name), this.values.get(spec.name)),
      element('div', { className: 'help' }, ...helpParagraphs(spec)))));
    this.filter();
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    for (const each of this.list.children) each.hidden = !each.textContent.toLowerCase().includes(wanted);
  }
}

/** The YAML for --params-file: to view, copy and download. */
class ParameterFile {
  constructor() {
    this.root = byId('as-yaml');
    this.text = byId('yaml');
    this.onlyChanged = byId('yaml-changed');
    this.load = throttled(() => this.fetch(), FILE_PERIOD_MS);
    this.root.addEventListener('toggle', () => this.load());
    this.onlyChanged.addEventListener('change', () => this.load());
    byId('yaml-copy').addEventListener('click', () => this.copy());
  }

  show(known) {
    this.root.hidden = !known;
    if (known) this.load();
  }

  async fetch() {
    if (!this.root.open || this.root.hidden) return;
    const address = `api/parameters.yaml?only_changed=${this.onlyChanged.checked}`;
    byId('yaml-save').href = address;
    try {
      setText(this.text, await (await request(address)).text());
      setText(byId('yaml-error'), '');
    } catch (error) {
      setText(this.text, '');
      setText(byId('yaml-error'), error.message);
    }
  }

  async copy() {
    let copied = true;
    try {
      await navigator.clipboard.writeText(this.text.textContent);
    } catch { // allowed only on https or this machine: select the text instead
      getSelection().selectAllChildren(this.text);
      copied = document.execCommand('copy');
    }
    setText(byId('yaml-copied'), copied ? 'Copied.' : 'Selected: press Ctrl+C to copy.');
  }
}
