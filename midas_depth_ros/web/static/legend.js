// The colour bar below a metric heatmap, for a node that draws none itself.

import { element } from './dom.js';

const METRES = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100];
const LEAST_APART = 0.09; // of the bar
const LABEL_WIDTH = 42; // px
const NAMES = ['mode', 'legend', 'colormap', 'mapping', 'gamma', 'metric_near', 'metric_far'];

/** Colour map -> some of its colours from far to near; from /api/about. */
export const palettes = {};

/** The node's heatmap parameters; null if there is no bar to draw. */
export function heatmapOptions(facts) {
  const known = [...(facts.get('parameters') ?? []), ...(facts.get('other_parameters') ?? [])];
  const value = (name) => known.find((each) => each.name === `heatmap.${name}`)?.value;
  const options = Object.fromEntries(NAMES.map((name) => [name, value(name)]));
  const { mode, legend, colormap, metric_near: near, metric_far: far } = options;
  return mode === 'metric' && legend === false && palettes[colormap] && near > 0 && far > near ? options : null;
}

/** Where the colour of a distance is, 0 = near, 1 = far: as views/heatmap.py has it. */
function place(metres, { mapping, gamma, metric_near: near, metric_far: far }) {
  let tone = (1 / metres - 1 / far) / (1 / near - 1 / far);
  if (mapping === 'log') tone = Math.log1p((far / near - 1) * tone) / Math.log(far / near);
  return 1 - tone ** gamma;
}

export class Legend {
  constructor() {
    this.shown = '';
    this.root = element('div', { className: 'legend', role: 'img', hidden: true });
  }

  show(options) {
    this.root.hidden = !options;
    const apart = Math.max(LEAST_APART, LABEL_WIDTH / (this.root.clientWidth || Infinity));
    const shown = JSON.stringify([options, apart]);
    if (!options || shown === this.shown) return;
    this.shown = shown;
    const { metric_near: near, metric_far: far, colormap } = options;
    this.root.setAttribute('aria-label', `Colours from ${near} m to ${far} m`);
    const bar = element('div', { className: 'legend-bar' });
    bar.style.background = `linear-gradient(to left, ${palettes[colormap].join(', ')})`;
    const taken = [];
    const ticks = [near, far, ...METRES.filter((metres) => metres > near && metres < far)].flatMap((metres) => {
      const at = place(metres, options);
      if (taken.some((other) => Math.abs(other - at) < apart)) return [];
      taken.push(at);
      const tick = element('span', {}, `${+metres.toPrecision(3)} m`);
      tick.style.left = `${100 * at}%`;
      tick.style.transform = `translateX(${-100 * at}%)`; // the outer ones stay inside the bar
      return [tick];
    });
    this.root.replaceChildren(bar, element('div', { className: 'legend-ticks' }, ...ticks));
  }
}
