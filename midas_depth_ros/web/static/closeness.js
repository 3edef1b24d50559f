// Closeness left, centre and right as bars; unknown is hatched, never empty.

import { element, figure, setText } from './dom.js';

const NAMES = ['left', 'centre', 'right'];
const FULL = 1.5;
const STOPS = [[0, [86, 140, 190]], [0.35, [88, 176, 152]], [0.65, [236, 178, 62]], [1, [232, 74, 52]]];

function colour(value) {
  const at = Math.max(0, Math.min(1, value));
  const upper = Math.max(1, STOPS.findIndex(([stop]) => at <= stop));
  const [[low, from], [high, to]] = [STOPS[upper - 1], STOPS[upper]];
  const share = (at - low) / (high - low);
  return `rgb(${from.map((part, i) => Math.round(part + share * (to[i] - part))).join(' ')})`;
}

export class ClosenessBars {
  constructor(parent) {
    this.rows = NAMES.map((name) => {
      const fill = element('div', { className: 'fill' });
      const track = element('div', {
        className: 'track unknown', role: 'meter', 'aria-label': `Closeness ${name}`,
        'aria-valuemin': '0', 'aria-valuemax': String(FULL), 'aria-valuenow': '0', 'aria-valuetext': 'unknown',
      }, fill);
      const text = element('span', {}, 'unknown');
      parent.append(element('div', { className: 'bar' }, element('span', {}, name), track, text));
      return { fill, track, text };
    });
    parent.classList.add('bars');
  }

  /** values: three numbers, null where unknown; or null. */
  show(values) {
    this.rows.forEach(({ fill, track, text }, i) => {
      const value = values ? values[i] : null;
      const known = Number.isFinite(value);
      track.classList.toggle('unknown', !known);
      track.setAttribute('aria-valuenow', known ? String(Math.max(0, Math.min(FULL, value))) : '0');
      track.setAttribute('aria-valuetext', known ? figure(value) : 'unknown');
      fill.style.width = known ? `${(100 * Math.max(0, Math.min(FULL, value))) / FULL}%` : '0';
      fill.style.background = known ? colour(value) : 'none';
      setText(text, known ? figure(value) : '?');
    });
  }
}
