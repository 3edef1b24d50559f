// One camera's card: picture and heatmap, free distance, closeness, top view, rates and diagnostics.
//
// Expired values are removed, and the card says for how long there has been no data: nothing old may
// look live.

import { ClosenessBars } from './closeness.js';
import { element, figure, pill, setText } from './dom.js';
import { formatDuration } from './facts.js';
import { heatmapOptions, Legend } from './legend.js';
import { drawTopView } from './topview.js';

// Shown at the top; everything else is in the table below.
const STATS = [
  ['Camera', (v) => unit(v['input rate [Hz]'], 'Hz', 1)],
  ['Depth', (v) => unit(v['output rate [Hz]'], 'Hz', 1)],
  ['Possible', (v) => unit(v['possible rate [Hz]'], 'Hz', 1)],
  ['Latency', (v) => unit(v['latency median [ms]'], 'ms', 0)],
  ['95 %', (v) => unit(v['latency p95 [ms]'], 'ms', 0)],
  ['Inference', (v) => unit(v['inference median [ms]'], 'ms', 0)],
  ['Age', (v) => unit(v['stamp age median [ms]'], 'ms', 0)],
  ['Dropped', (v) => v['frames dropped'] ?? '–'],
  ['Rejected', (v) => v['frames rejected'] ?? '–'],
];
// The nearest point ends the free distance if it is about as far.
const SAME_SHARE = 0.1;
const FIRST_MS = 3000; // until missing depth is reported
const STREAMS = [
  ['picture', 'Camera', 'live camera picture'],
  ['heatmap', 'Heatmap: warm is near', 'live heatmap, warm is near'],
];

function unit(text, name, digits) {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? `${value.toFixed(digits)} ${name}` : '–';
}

/** Where metres come from; those of the model are marked as such, with whether they are checked. */
function scaleText(values) {
  const source = (values['scale source'] ?? '').replaceAll('_', ' ');
  if (source !== 'model') return `scale from ${source}`;
  const check = values['metres check'] ?? '';
  if (check.startsWith('agrees')) return 'metres from the model, checked';
  return check.startsWith('unverified') ? 'metres from the model, unverified' : 'metres from the model, checked before';
}

export class CameraCard {
  /** facts: see facts.js. */
  constructor(name, facts) {
    this.name = name;
    this.facts = facts;
    this.since = facts.now();
    this.views = {};
    this.drawn = new Map();
    this.level = element('span', { className: 'pill', 'data-level': 'wait' }, 'waiting');
    this.legend = new Legend();
    const pair = element('div', { className: 'pair' });
    for (const [stream, caption, description] of STREAMS) pair.append(this.view(stream, caption, description));
    this.nearest = element('p', { className: 'nearest' }, '–');
    this.scale = element('p', { className: 'dim' });
    const bars = element('div');
    this.bars = new ClosenessBars(bars);
    this.top = element('canvas', { className: 'top-view', role: 'img' });
    this.stats = element('dl', { className: 'stats' });
    this.table = element('dl', { className: 'facts' });
    const title = (text) => element('p', { className: 'reading-title' }, text);
    this.root = element('section', { className: 'card camera', 'aria-label': `Camera ${name}`, 'data-camera': name },
      element('div', { className: 'card-head' }, element('h2', {}, name), this.level),
      pair,
      element('div', { className: 'readings' },
        element('div', { className: 'left-readings' },
          element('div', {}, title('Free ahead'), this.nearest, this.scale),
          element('div', {}, title('Closeness'), bars),
          this.stats),
        element('div', {}, title('Top view'), this.top)),
      element('details', {}, element('summary', {}, 'All diagnostics'), this.table));
  }

  view(stream, caption, description) {
    const canvas = element('canvas', { width: 4, height: 3, role: 'img', 'aria-label': `${this.name}: ${description}`, 'data-stream': `${this.name}/${stream}` });
    const over = element('p', { className: 'over' }, 'no picture yet');
    const frame = element('div', { className: 'frame stale' }, canvas, over);
    this.views[stream] = { canvas, over, frame, heard: null, lifetime: 0 };
    const legend = stream === 'heatmap' ? [this.legend.root] : [];
    return element('figure', {}, frame, ...legend, element('figcaption', {}, caption));
  }

  /** Draw a frame unless it has expired; resolves when it is on screen. */
  async frame(stream, heard, lifetime, blob) {
    const view = this.views[stream];
    if (!view || !(this.facts.now() - heard <= lifetime)) return;
    const bitmap = await createImageBitmap(blob);
    const { canvas } = view;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      view.frame.style.aspectRatio = `${bitmap.width} / ${bitmap.height}`;
    }
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    bitmap.close();
    Object.assign(view, { heard, lifetime });
    canvas.dataset.frames = String(Number(canvas.dataset.frames || 0) + 1);
    this.showFreshness(view);
  }

  /** Remove what has expired and say for how long; called by a timer and with every message. */
  refresh() {
    const { facts } = this;
    const status = facts.get('cameras')?.[this.name];
    const [level, words] = this.verdict(status);
    // Without depth, the node's rates are those of earlier.
    const values = status && level !== 'error' && level !== 'rest' ? status.values : {};
    this.root.classList.toggle('frozen', facts.frozenAt !== null);
    this.root.classList.toggle('silent', level === 'error');
    pill(this.level, level === 'rest' ? 'warn' : level, words);
    this.draw('diagnostics', [status, level], () => this.showDiagnostics(values, status?.values ?? {}));
    this.draw('closeness', [this.own('closeness')], (value) => this.bars.show(value));
    const proximity = this.own('proximity');
    const silence = facts.silence(`proximity/${this.name}`);
    const ahead = proximity && !proximity.clear ? this.own('nearest_point') : null;
    this.draw('nearest', [proximity, ahead, status, silence], () => this.showNearest(proximity, ahead, values, silence));
    const scan = this.own('scan');
    const reason = scan ? '' : this.whyNoScan(values);
    const free = this.own('seen_free');
    this.draw('top', [scan, free, ahead, reason, this.top.clientWidth], () => this.showTop(scan, free, ahead, reason));
    this.legend.show(heatmapOptions(facts));
    for (const view of Object.values(this.views)) this.showFreshness(view);
  }

  /**
   * Level and text of the camera's state: what its node reports, unless the page sees otherwise.
   * Only depth that arrives here counts as ok.
   */
  verdict(status) {
    const { facts } = this;
    if (facts.frozenAt !== null) return ['warn', 'frozen'];
    if (!status) return ['error', facts.silence('cameras') || 'unknown'];
    const { enabled, 'lifecycle state': state } = facts.get('model')?.values ?? {};
    if (state && state !== 'active') return ['rest', state];
    if (enabled === 'False') return ['rest', 'paused'];
    const { level, message } = status;
    if (level !== 'ok' && level !== 'warn') return ['error', message];
    const { heatmap } = this.views;
    const never = heatmap.heard === null;
    const age = facts.now() - (never ? this.since : heatmap.heard);
    if (age > (never ? FIRST_MS : heatmap.lifetime)) {
      const words = `no depth for ${formatDuration(age)}`;
      return ['error', level === 'ok' ? words : `${words}: ${message}`];
    }
    return never && level === 'ok' ? ['wait', 'waiting for depth'] : [level, message];
  }

  /** Redraw everything, after a change of colours or size. */
  redraw() {
    this.drawn.clear();
    this.refresh();
  }

  /** Draw a part only if its inputs have changed. */
  draw(part, shown, make) {
    const before = this.drawn.get(part);
    if (before && before.every((value, i) => Object.is(value, shown[i]))) return;
    this.drawn.set(part, shown);
    make(...shown);
  }

  own(reading) {
    return this.facts.get(`${reading}/${this.name}`);
  }

  /** Hide an expired picture and show for how long there has been none. */
  showFreshness(view) {
    const { frozenAt } = this.facts;
    const age = view.heard === null ? NaN : this.facts.now() - view.heard;
    const stale = !(age <= view.lifetime);
    if (stale && !view.frame.classList.contains('stale')) {
      view.canvas.getContext('2d').clearRect(0, 0, view.canvas.width, view.canvas.height);
    }
    view.frame.classList.toggle('stale', stale);
    view.over.hidden = !stale && frozenAt === null;
    if (!stale) setText(view.over, 'frozen');
    else setText(view.over, Number.isNaN(age) ? 'no picture yet' : `no new picture for ${formatDuration(age)}`);
  }

  whyNoScan(values) {
    const silence = this.facts.silence(`scan/${this.name}`);
    if (silence) return `Scan: ${silence}`;
    const { scale } = values;
    return scale && scale !== 'valid' ? `Metric scale: ${scale}` : 'No scan';
  }

  showTop(scan, free, ahead, reason) {
    this.top.setAttribute('aria-label', `${this.name}: ${scan ? 'obstacles in top view' : `obstacles unknown. ${reason}`}`);
    this.top.dataset.known = String(Boolean(scan));
    drawTopView(this.top, scan, free, ahead, reason);
  }

  /** Show how far the way ahead is free: to an obstacle, or as far as visible. */
  showNearest(proximity, ahead, values, silence) {
    const known = proximity && Number.isFinite(proximity.metres);
    this.nearest.classList.toggle('unknown', !known);
    if (!known) this.nearest.replaceChildren('unknown', element('small', {}, silence));
    else if (proximity.clear) this.nearest.replaceChildren('clear', element('small', {}, `up to ${figure(proximity.most, 1)} m`));
    else {
      const obstacle = ahead && Math.abs(ahead[0] - proximity.metres) <= SAME_SHARE * proximity.metres;
      this.nearest.replaceChildren(figure(proximity.metres), element('small', {}, obstacle ? 'm to obstacle' : 'm, as far as visible'));
    }
    const scale = values.scale ?? '';
    setText(this.scale, scale === 'valid' ? scaleText(values) : scale && 'no metric scale');
  }

  showDiagnostics(values, all) {
    this.stats.replaceChildren(...STATS.map(([name, read]) => element('div', {}, element('dt', {}, name), element('dd', {}, read(values)))));
    const rows = Object.entries(all).filter(([, value]) => value !== '');
    this.table.replaceChildren(...rows.flatMap(([key, value]) => [element('dt', {}, key), element('dd', {}, value)]));
  }
}
