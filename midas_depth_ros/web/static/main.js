// Wires the page: tabs, the live connection, the node's card, the parameters, the picture panel.

import { CameraCard } from '/static/camera.js';
import { Connection } from '/static/connection.js';
import { Controls } from '/static/controls.js';
import { ask, byId, element, pill, post, say } from '/static/dom.js';
import { PicturePanel } from '/static/picture.js';

const PANELS = ['live', 'picture'];
const NODE_FACTS = [
  ['model', 'Model'], ['backend', 'Runs on'], ['precision', 'Precision'], ['inference threads', 'Threads'],
  ['processors', 'Processors'],
  ['lifecycle state', 'State'],
];

const facts = {};
const cards = new Map();
const controls = new Controls();
let state = 'closed';

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

function onFacts(news) {
  const first = Object.keys(facts).length === 0;
  Object.assign(facts, news);
  if ('cameras' in news) arrangeCards(Object.keys(facts.cameras ?? {}));
  showEmptiness();
  for (const [name, card] of cards) {
    const own = {};
    if ('cameras' in news) own.status = facts.cameras?.[name];
    for (const [key, short] of [['closeness'], ['proximity'], ['scan'], ['nearest_point', 'nearest']]) {
      if (`${key}/${name}` in news) own[short ?? key] = news[`${key}/${name}`];
    }
    if (Object.keys(own).length) card.update(own);
  }
  if ('parameters' in news) controls.show(facts.parameters);
  if ('model' in news || 'present' in news) showNode();
  if (first && !facts.ros && !location.hash) showPanel('picture');
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
    const card = new CameraCard(name);
    cards.set(name, card);
    byId('cameras').append(card.root);
    const own = (key) => facts[`${key}/${name}`];
    card.update({ status: facts.cameras[name], closeness: own('closeness'), proximity: own('proximity'), scan: own('scan'), nearest: own('nearest_point') });
  }
}

/** Without a camera the page says so instead of being empty. */
function showEmptiness() {
  byId('no-camera').hidden = cards.size > 0 || !facts.ros;
  byId('cameras').hidden = cards.size === 0;
}

function showNode() {
  const { model, present } = facts;
  const values = model?.values ?? {};
  const enabled = values.enabled === 'True';
  const button = byId('enable');
  button.disabled = !present;
  say(button, enabled || !present ? 'Pause the node' : 'Resume the node');
  if (!present) pill(byId('node-state'), 'error', 'not there');
  else if (!enabled) pill(byId('node-state'), 'warn', values['lifecycle state'] === 'active' ? 'paused' : values['lifecycle state']);
  else pill(byId('node-state'), model.level, model.level === 'ok' ? 'working' : 'attention');
  say(byId('node-words'), present ? model?.message ?? '' : '');
  const rows = NODE_FACTS.filter(([key]) => values[key]).map(([key, label]) => [label, values[key]]);
  const busy = values['CPU [% of a core]'];
  if (busy) rows.push(['CPU', `${busy} % of a core`]);
  byId('node-facts').replaceChildren(...rows.flatMap(([label, value]) => [element('dt', {}, label), element('dd', {}, value)]));
}

function showNotice() {
  const notice = byId('live-notice');
  let text = '';
  if (state === 'open' && !facts.ros) text = 'This dashboard runs without ROS: it shows the depth of pictures only.';
  else if (state === 'open' && !facts.present) text = `No depth node ${facts.ros?.depth_node} is heard: as soon as it runs, it shows here.`;
  else if (state === 'closed' && cards.size) text = 'The connection to the dashboard is lost; it is tried again by itself.';
  say(notice, text);
  notice.hidden = !text;
}

function onState(now) {
  state = now;
  const words = { open: ['ok', 'connected'], closed: ['error', 'connection lost, trying again'], held: ['warn', 'frozen'] };
  pill(byId('connection'), ...words[now]);
  // What was near is not known any more; it is told anew when the connection is back.
  if (now === 'closed') cards.forEach((card) => card.update({ closeness: null, proximity: null, scan: null, nearest: null }));
  showNotice();
}

function listenToNode(connection) {
  byId('enable').addEventListener('click', async () => {
    const enabled = facts.model?.values?.enabled === 'True';
    try {
      await post('/api/enabled', { enabled: !enabled });
      say(byId('node-error'), '');
    } catch (error) {
      say(byId('node-error'), error.message);
    }
  });
  const hold = byId('hold');
  hold.addEventListener('click', () => {
    const held = hold.getAttribute('aria-pressed') !== 'true';
    hold.setAttribute('aria-pressed', String(held));
    say(hold, held ? 'Go on' : 'Freeze this view');
    connection.hold(held);
  });
}

async function start() {
  listenToTabs();
  const connection = new Connection({
    onFacts,
    onState,
    onFrame: async (stream, blob) => {
      const cut = stream.lastIndexOf('/');
      await cards.get(stream.slice(0, cut))?.frame(stream.slice(cut + 1), blob);
    },
  });
  listenToNode(connection);
  const refresh = () => cards.forEach((card) => card.freshness(facts.present, state === 'held'));
  setInterval(refresh, 500);
  addEventListener('resize', () => cards.forEach((card) => card.update({})));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => cards.forEach((card) => card.update({})));
  const about = await (await ask('/api/about')).json();
  say(byId('version'), about.version);
  new PicturePanel(about);
}

start().catch((error) => pill(byId('connection'), 'error', error.message));
