// A dropped, pasted, chosen or sample picture: its depth, rendered as the sliders say.

import { ClosenessBars } from './closeness.js';
import { request, shortened, byId, element, pill, setText } from './dom.js';
import { Field, throttled } from './fields.js';

const PERIOD_MS = 120;
// name, label, step, unit, and a maximum if that of the API is too large for a slider
const LOOK = [
  ['colormap', 'Colour map'], ['mapping', 'Mapping'], ['overlay_alpha', 'Picture overlay', 0.05],
  ['percentile_low', 'Far limit, percentile', 0.5, '%'], ['percentile_high', 'Near limit, percentile', 0.5, '%'],
  ['gamma', 'Gamma', 0.1, '', 4], ['smoothing', 'Smoothing radius', 0.5, 'px'],
  ['clahe_clip', 'Local contrast (CLAHE)', 0.5, '', 10],
];
const DEFAULTS = {
  colormap: 'inferno', mapping: 'linear', overlay_alpha: 0, percentile_low: 2, percentile_high: 98,
  gamma: 1, smoothing: 0, clahe_clip: 0,
};

export class PicturePanel {
  /** `about`: a promise of what the server says of itself; a picture chosen before waits for it. */
  constructor(about) {
    this.look = { ...DEFAULTS };
    this.result = null;
    this.drawing = 0;
    this.sent = 0; // the latest picture: answers to older ones change nothing
    this.bars = new ClosenessBars(byId('result-closeness'));
    this.draw = throttled(() => this.redraw(), PERIOD_MS);
    this.listen();
    this.ready = about.then((facts) => this.build(facts));
    this.ready.catch(() => {}); // said where the page started, and for each picture
  }

  build(about) {
    this.about = about;
    this.buildLook();
    this.buildSamples();
    const megabytes = Math.floor(about.upload_bytes / 2 ** 20);
    setText(byId('drop-hint'), `JPEG, PNG or WebP, up to ${megabytes} MB. It is sent to this dashboard only.`);
  }

  buildLook() {
    const choices = { colormap: this.about.colormaps, mapping: this.about.mappings };
    const fields = LOOK.map(([name, label, step, unit, most]) => {
      const [low, high] = this.about.bounds[name] ?? [];
      const spec = {
        name, label, step, low, high: most ?? high, kind: 'double', value: DEFAULTS[name],
        choices: choices[name] ?? [], unit: unit ?? '',
      };
      return new Field(spec, 'look', (value) => {
        this.look[name] = value;
        this.draw();
      }).root;
    });
    const form = byId('look');
    form.addEventListener('submit', (event) => event.preventDefault());
    form.append(...fields);
  }

  buildSamples() {
    byId('samples').append(...this.about.samples.map((path) => {
      const name = path.replace(/^samples\//, '').replace(/\.\w+$/, '').replaceAll('_', ' ');
      const button = element('button', { type: 'button', title: name }, element('img', { src: `static/${path}`, alt: `Sample: ${name}`, width: 104, height: 78 }));
      button.addEventListener('click', async () => {
        const sent = ++this.sent;
        try {
          this.send(await (await request(`static/${path}`)).blob(), name, sent);
        } catch (error) {
          if (sent === this.sent) this.refuse(error.message);
        }
      });
      return element('li', {}, button);
    }));
  }

  listen() {
    byId('picture-fault-close').addEventListener('click', () => this.fail(''));
    const input = byId('file');
    input.addEventListener('change', () => {
      if (input.files[0]) this.send(input.files[0], input.files[0].name);
      input.value = '';
    });
    const drop = byId('drop');
    window.addEventListener('dragover', (event) => {
      event.preventDefault();
      drop.classList.add('over');
    });
    window.addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) drop.classList.remove('over');
    });
    window.addEventListener('drop', (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      this.take(event.dataTransfer?.files[0]);
    });
    window.addEventListener('paste', (event) => this.take(event.clipboardData?.files[0]));
  }

  take(file) {
    if (!file) return;
    document.dispatchEvent(new CustomEvent('show-panel', { detail: 'picture' }));
    this.send(file, file.name);
  }

  /** Ask for a picture's depth; `sent`: its number, where it was given before. */
  async send(blob, name, sent = ++this.sent) {
    try {
      await this.ready;
      if (sent !== this.sent) return;
      const most = this.about.upload_bytes;
      if (blob.size > most) throw new Error(`the file has ${blob.size} bytes; the limit is ${most}`);
      this.fail('');
      const card = byId('result');
      card.hidden = false;
      card.setAttribute('aria-busy', 'true');
      pill(byId('result-words'), 'wait', 'processing');
      const body = new FormData();
      body.append('image', blob, 'picture');
      const answer = await request('api/predict', { method: 'POST', body, headers: { Accept: 'application/json' } });
      const result = await answer.json();
      if (sent !== this.sent) return;
      this.result = result;
      this.show(blob, name);
      await this.redraw();
      if (sent !== this.sent) return;
      card.scrollIntoView({ block: 'nearest' });
      card.setAttribute('aria-busy', 'false');
    } catch (error) {
      if (sent === this.sent) this.refuse(error.message);
    }
  }

  /** Say why the latest picture has no depth; an earlier one's stays. */
  refuse(reason) {
    const card = byId('result');
    if (!this.result) card.hidden = true;
    else pill(byId('result-words'), 'warn', 'previous picture');
    card.setAttribute('aria-busy', 'false');
    this.fail(reason);
  }

  show(blob, name) {
    const { result } = this;
    swap(byId('result-picture'), blob);
    swap(byId('result-heatmap'), null); // that of an earlier picture
    const time = result.cached ? 'from cache' : `inferred in ${Math.round(result.inference_ms)} ms`;
    pill(byId('result-words'), 'ok', `${result.width}×${result.height}, ${result.model}, ${time}`);
    const near = result.closeness;
    this.bars.show([near.left, near.centre, near.right]);
    const unknown = near.reason ? `Closeness unknown: ${near.reason}.` : '';
    const blind = result.blind && !near.reason.includes(result.blind) ? `Grey areas are unknown: ${result.blind}.` : '';
    setText(byId('result-notice'), [unknown, blind].filter(Boolean).join(' '));
    // The same for every picture, so it is shown once, beside the samples.
    byId('model-note').hidden = !result.notice;
    setText(byId('model-note-title'), shortened(result.notice));
    setText(byId('model-note-words'), result.notice);
    for (const frame of document.querySelectorAll('#result .frame')) {
      frame.style.aspectRatio = `${result.shown_width} / ${result.shown_height}`;
    }
    setText(byId('result-title'), name.length > 40 ? `${name.slice(0, 37)}...` : name);
  }

  async redraw() {
    if (!this.result) return;
    const turn = ++this.drawing;
    const { sent } = this;
    const query = new URLSearchParams(this.look);
    const base = `api/results/${this.result.id}`; // relative: a proxy may serve the page below a path
    byId('save-pair').href = `${base}/side_by_side.png?${query}`;
    byId('save-heatmap').href = `${base}/heatmap.png?${query}`;
    byId('save-depth').href = `${base}/depth.npy`;
    try {
      const blob = await (await request(`${base}/heatmap.png?${query}`)).blob();
      if (turn === this.drawing) {
        swap(byId('result-heatmap'), blob);
        if (sent === this.sent) this.fail('');
      }
    } catch (error) {
      if (sent === this.sent) this.fail(error.message);
    }
  }

  /** Show an error, visible at any scroll position; '' hides it. */
  fail(reason) {
    setText(byId('picture-error'), reason);
    byId('picture-fault').hidden = !reason;
  }
}

/** Show another picture; null: none. */
function swap(image, blob) {
  const old = image.src;
  image.hidden = !blob;
  if (blob) image.src = URL.createObjectURL(blob);
  else image.removeAttribute('src');
  if (old.startsWith('blob:')) URL.revokeObjectURL(old);
}
