// The depth node's parameters: those that may be set as a form, where a refusal stands below its field
// in the node's words; the others as a list; all of them as a file.

import { ask, byId, element, post, say } from './dom.js';
import { explained, Field, throttled, worded } from './fields.js';

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

  /** parameters, others: what the node told of them, or null where there is no node. */
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
      this.form.replaceChildren(element('p', { className: 'dim' }, 'No depth node to set.'));
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

/** The parameters that are not set here, with all that is known of them. */
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
    for (const spec of parameters) say(this.values.get(spec.name), worded(spec, spec.value));
  }

  build(parameters) {
    this.values = new Map(parameters.map(({ name }) => [name, element('span', {})]));
    this.list.replaceChildren(...parameters.map((spec) => element('details', { className: 'other', 'data-name': spec.name },
      element('summary', {}, element('code', {}, spec.name), this.values.get(spec.name)),
      element('div', { className: 'help' }, ...explained(spec)))));
    this.filter();
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    for (const each of this.list.children) each.hidden = !each.textContent.toLowerCase().includes(wanted);
  }
}

/** What --params-file takes: to look at, copy and save. */
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
      say(this.text, await (await ask(address)).text());
      say(byId('yaml-error'), '');
    } catch (error) {
      say(this.text, '');
      say(byId('yaml-error'), error.message);
    }
  }

  async copy() {
    let copied = true;
    try {
      await navigator.clipboard.writeText(this.text.textContent);
    } catch { // only pages of https and of this machine may: it is marked, for the keyboard
      getSelection().selectAllChildren(this.text);
      copied = document.execCommand('copy');
    }
    say(byId('yaml-copied'), copied ? 'Copied.' : 'Marked: copy it by the keyboard.');
  }
}
