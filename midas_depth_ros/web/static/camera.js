// One camera's card: picture beside heatmap, what is near, the scan from above, rates and faults.

import { ClosenessBars } from '/static/closeness.js';
import { element, figure, pill, say } from '/static/dom.js';
import { drawTopView } from '/static/topview.js';

const STALE_MS = 2500;
// What is shown in large; everything else is in the table below it.
const STATS = [
  ['Camera', (v) => unit(v['input rate [Hz]'], 'Hz', 1)],
  ['Depth', (v) => unit(v['output rate [Hz]'], 'Hz', 1)],
  ['Latency', (v) => unit(v['latency median [ms]'], 'ms', 0)],
  ['95 %', (v) => unit(v['latency p95 [ms]'], 'ms', 0)],
  ['Inference', (v) => unit(v['inference median [ms]'], 'ms', 0)],
  ['Age', (v) => unit(v['stamp age median [ms]'], 'ms', 0)],
  ['Dropped', (v) => v['frames dropped'] ?? '–'],
  ['Rejected', (v) => v['frames rejected'] ?? '–'],
];
const STREAMS = [
  ['picture', 'Camera', 'live camera picture'],
  ['heatmap', 'Heatmap: warm is near', 'live heatmap, warm is near'],
];

function unit(text, name, digits) {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? `${value.toFixed(digits)} ${name}` : '–';
}

export class CameraCard {
  constructor(name) {
    this.name = name;
    this.views = {};
    this.level = element('span', { className: 'pill', 'data-level': 'wait' }, 'waiting');
    const pair = element('div', { className: 'pair' });
    for (const [stream, caption, description] of STREAMS) pair.append(this.view(stream, caption, description));
    this.nearest = element('p', { className: 'nearest' }, '–');
    this.scale = element('p', { className: 'dim' });
    const bars = element('div');
    this.bars = new ClosenessBars(bars);
    this.top = element('canvas', { className: 'top-view', role: 'img', 'aria-label': `${name}: obstacles from above` });
    this.stats = element('dl', { className: 'stats' });
    this.table = element('dl', { className: 'facts' });
    const title = (text) => element('p', { className: 'reading-title' }, text);
    this.root = element('section', { className: 'card camera', 'aria-label': `Camera ${name}`, 'data-camera': name },
      element('div', { className: 'card-head' }, element('h2', {}, name), this.level),
      pair,
      element('div', { className: 'readings' },
        element('div', { className: 'left-readings' },
          element('div', {}, title('Nearest obstacle ahead'), this.nearest, this.scale),
          element('div', {}, title('Closeness'), bars),
          this.stats),
        element('div', {}, title('From above'), this.top)),
      element('details', {}, element('summary', {}, 'All that diagnostics say'), this.table));
    this.facts = {};
  }

  view(stream, caption, description) {
    const canvas = element('canvas', { width: 4, height: 3, role: 'img', 'aria-label': `${this.name}: ${description}`, 'data-stream': `${this.name}/${stream}` });
    const over = element('p', { className: 'over' }, 'no picture yet');
    const frame = element('div', { className: 'frame stale' }, canvas, over);
    this.views[stream] = { canvas, over, frame, shown: 0 };
    return element('figure', {}, frame, element('figcaption', {}, caption));
  }

  /** Draw a frame; the promise is kept when it is on the screen. */
  async frame(stream, blob) {
    const view = this.views[stream];
    if (!view) return;
    const bitmap = await createImageBitmap(blob);
    const { canvas } = view;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      view.frame.style.aspectRatio = `${bitmap.width} / ${bitmap.height}`;
    }
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    bitmap.close();
    view.shown = performance.now();
    canvas.dataset.frames = String(Number(canvas.dataset.frames || 0) + 1);
    this.freshness(true);
  }

  /** Pictures that stand still are dimmed and say so. */
  freshness(present, held = false) {
    for (const view of Object.values(this.views)) {
      const age = performance.now() - view.shown;
      const stale = !view.shown || age > STALE_MS;
      view.frame.classList.toggle('stale', stale && !held);
      view.over.hidden = !stale;
      if (held) say(view.over, 'frozen');
      else if (!view.shown) say(view.over, present ? 'no picture yet' : 'no depth node');
      else say(view.over, `no new picture for ${Math.round(age / 1000)} s`);
    }
  }

  update(facts) {
    Object.assign(this.facts, facts);
    const { status, closeness, proximity, scan, nearest } = this.facts;
    const values = status?.values ?? {};
    if (status) pill(this.level, status.level, status.message);
    this.bars.show(closeness);
    this.showNearest(proximity, values);
    const reason = values.scale && values.scale !== 'valid' ? `No metres: ${values.scale.replace(/^none: /, '')}` : 'No scan';
    const ahead = proximity && !proximity.clear ? nearest : null;
    drawTopView(this.top, scan, ahead, reason);
    if (facts.status) this.showDiagnostics(values);
  }

  showNearest(proximity, values) {
    const known = proximity && Number.isFinite(proximity.metres);
    if (!known) this.nearest.replaceChildren('unknown');
    else if (proximity.clear) this.nearest.replaceChildren('clear', element('small', {}, `beyond ${figure(proximity.most, 1)} m`));
    else this.nearest.replaceChildren(figure(proximity.metres), element('small', {}, 'm'));
    const scale = values.scale ?? '';
    say(this.scale, scale === 'valid' ? `scale from ${(values['scale source'] ?? '').replaceAll('_', ' ')}` : scale && 'no metric scale');
  }

  showDiagnostics(values) {
    this.stats.replaceChildren(...STATS.map(([name, read]) => element('div', {}, element('dt', {}, name), element('dd', {}, read(values)))));
    const rows = Object.entries(values).filter(([, value]) => value !== '');
    this.table.replaceChildren(...rows.flatMap(([key, value]) => [element('dt', {}, key), element('dd', {}, value)]));
  }
}
