// The depth node's live parameters as a form; a refusal stands below its field, in the node's words.

import { byId, element, post } from './dom.js';
import { Field, throttled } from './fields.js';

const PERIOD_MS = 150;

export class Controls {
  constructor() {
    this.form = byId('controls');
    this.form.addEventListener('submit', (event) => event.preventDefault());
    this.fields = new Map();
    this.shape = '';
  }

  /** parameters: what the node told of them, or null where there is no node. */
  show(parameters) {
    const shape = JSON.stringify((parameters ?? []).map(({ value, ...rest }) => rest));
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(parameters ?? []);
    }
    for (const { name, value } of parameters ?? []) this.fields.get(name)?.show(value);
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
