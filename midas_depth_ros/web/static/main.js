// Entry point of the page: tabs, live connection, node card, parameters and picture panel.

import { CameraCard } from './camera.js';
import { Connection } from './connection.js';
import { Controls } from './controls.js';
import { request, shortened, byId, element, pill, post, setText } from './dom.js';
import { clock, Facts, formatDuration } from './facts.js';
import { palettes } from './legend.js';
import { PicturePanel } from './picture.js';

const PANELS = ['live', 'picture'];
const NODE_FACTS = [
  ['model', 'Model'], ['backend', 'Runs on'], ['precision', 'Precision'], ['inference threads', 'Threads'],
  ['processors', 'Processors'],
  ['lifecycle state', 'State'],
];

const PARAMETERS = ['parameters', 'other_parameters', 'mount_parameters'];
const REFRESH_MS = 250;

const facts = new Facts();
const cards = new Map();
const controls = new Controls();
let state = 'connecting';
let stateSince = clock();
let heardAnything = false;
let shownParameters = [];

function showPanel(name) {
  for (const each of PANELS) {
    const tab = byId(`tab-${each}`);
    tab.setAttribute('aria-selected', String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    byId(each).hidden = each !== name;
  }
  history.replaceState(null, '', `#${name}`);
}

function listenToTabs() {
  PANELS.forEach((name, i) => {
    const tab = byId(`tab-${name}`);
    tab.addEventListener('click', () => showPanel(name));
    tab.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = PANELS[(i + step + PANELS.length) % PANELS.length];
      showPanel(next);
      byId(`tab-${next}`).focus();
    });
  });
  document.addEventListener('show-panel', (event) => showPanel(event.detail));
  if (PANELS.includes(location.hash.slice(1))) showPanel(location.hash.slice(1));
}

function onFacts(message) {
  facts.take(message);
  if (!heardAnything && !facts.get('ros') && !location.hash) showPanel('picture');
  heardAnything = true;
  refresh();
}

/** Update the page with the facts valid now; called with every message and by a timer. */
function refresh() {
  const cameras = facts.get('cameras');
  if (cameras) arrangeCards(Object.keys(cameras)); // while unknown, the cards stay and say so
  byId('no-camera').hidden = cards.size > 0 || !facts.get('ros');
  byId('cameras').hidden = cards.size === 0;
  cards.forEach((card) => card.refresh());
  showParameters();
  showNode();
  showConnection();
  showNotice();
}

function arrangeCards(names) {
  for (const [name, card] of cards) {
    if (!names.includes(name)) {
      card.root.remove();
      cards.delete(name);
    }
  }
  for (const name of names) {
    if (cards.has(name)) continue;
    const card = new CameraCard(name, facts);
    cards.set(name, card);
    byId('cameras').append(card.root);
  }
}

/** Only on changes: a value being typed must not be overwritten. */
function showParameters() {
  const known = PARAMETERS.map((name) => (facts.get('present') ? facts.get(name) : null));
  if (known.every((value, i) => value === shownParameters[i])) return;
  shownParameters = known;
  const [parameters, others, mounts] = known;
  controls.show(parameters, others && mounts && [...others, ...mounts]);
}

function showNode() {
  const [model, present] = [facts.get('model'), facts.get('present')];
  const values = model?.values ?? {};
  const enabled = values.enabled === 'True';
  const button = byId('enable');
  button.disabled = !present || facts.frozenAt !== null;
  setText(button, enabled || !present ? 'Pause node' : 'Resume node');
  if (facts.frozenAt !== null) pill(byId('node-state'), 'warn', 'frozen');
  else if (!present) pill(byId('node-state'), 'error', facts.silence('model') || 'not found');
  else if (!enabled) pill(byId('node-state'), 'warn', values['lifecycle state'] === 'active' ? 'paused' : values['lifecycle state'] ?? 'unknown');
  else pill(byId('node-state'), model.level, model.level === 'ok' ? 'running' : 'needs attention');
  const words = present ? model?.message ?? '' : '';
  setText(byId('node-words'), shortened(words));
  byId('node-more').hidden = shortened(words) === words;
  setText(byId('node-more-words'), words);
  const rows = NODE_FACTS.filter(([key]) => present && values[key]).map(([key, label]) => [label, values[key]]);
  const busy = values['CPU [% of a core]'];
  if (present && busy) rows.push(['CPU', `${busy} % of a core`]);
  const shown = JSON.stringify(rows);
  const list = byId('node-facts');
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.replaceChildren(...rows.flatMap(([label, value]) => [element('dt', {}, label), element('dd', {}, value)]));
}

function showConnection() {
  const words = {
    open: ['ok', 'connected'], silent: ['error', 'not responding'], closed: ['error', 'connection lost'], held: ['warn', 'frozen'],
  };
  if (words[state]) pill(byId('connection'), ...words[state]);
}

/** Show the most severe problem; its running time is not announced by screen readers. */
function showNotice() {
  const since = formatDuration(clock() - stateSince);
  const node = facts.get('ros')?.depth_node;
  const silence = facts.silence('model');
  let [text, counting, level] = ['', '', 'error'];
  if (state === 'held') [text, counting, level] = ['View frozen: nothing here is live.', `Frozen for ${since}.`, 'warn'];
  else if (state === 'silent') [text, counting] = ['The dashboard is not responding: nothing on this page is live.', silence && `There has been ${silence}.`];
  else if (state === 'closed') [text, counting] = ['Connection to the dashboard lost: nothing on this page is live.', `Lost ${since} ago, reconnecting.`];
  else if (state === 'open' && !node) [text, level] = ['This dashboard runs without ROS: pictures only.', 'warn'];
  else if (state === 'open' && !facts.get('present')) {
    [text, counting] = [`No depth node ${node} found: start it, and it appears here.`, silence && `There has been ${silence}.`];
  }
  const notice = byId('live-notice');
  notice.dataset.level = level;
  setText(notice.firstElementChild, text);
  setText(notice.lastElementChild, counting);
  notice.hidden = !text;
}

function onState(now) {
  state = now;
  stateSince = clock();
  if (now === 'held') facts.freeze();
  if (now === 'closed') facts.lose();
  refresh();
}

function listenToNode(connection) {
  byId('enable').addEventListener('click', async () => {
    const enabled = facts.get('model')?.values?.enabled === 'True';
    try {
      await post('api/enabled', { enabled: !enabled });
      setText(byId('node-error'), '');
    } catch (error) {
      setText(byId('node-error'), error.message);
    }
  });
  const hold = byId('hold');
  hold.addEventListener('click', () => {
    const held = hold.getAttribute('aria-pressed') !== 'true';
    hold.setAttribute('aria-pressed', String(held));
    setText(hold, held ? 'Back to live' : 'Freeze view');
    connection.hold(held);
  });
}

async function start() {
  listenToTabs();
  const connection = new Connection({
    onFacts,
    onState,
    onOpening: () => facts.open(),
    onFrame: async ({ stream, heard, lifetime_s: lifetime }, blob) => {
      const cut = stream.lastIndexOf('/');
      await cards.get(stream.slice(0, cut))?.frame(stream.slice(cut + 1), facts.pageTime(heard), lifetime * 1000, blob);
    },
  });
  listenToNode(connection);
  setInterval(refresh, REFRESH_MS);
  document.addEventListener('visibilitychange', refresh);
  const redraw = () => cards.forEach((card) => card.redraw());
  addEventListener('resize', redraw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  const asked = request('api/about').then((answer) => answer.json());
  new PicturePanel(asked);
  const about = await asked;
  setText(byId('version'), about.version);
  Object.assign(palettes, about.palettes);
}

start().catch((error) => pill(byId('connection'), 'error', error.message));
