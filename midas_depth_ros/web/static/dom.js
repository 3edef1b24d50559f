// Helpers to build the page without parsing text as HTML.

const BRIEF = 100; // characters

/** An element with properties (data-*, aria-*, class and role as attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && !name.includes('-')) made[name] = value;
    else if (value !== undefined) made.setAttribute(name === 'className' ? 'class' : name, value);
  }
  made.append(...children);
  return made;
}

/** Set a text only if it differs: screen readers announce every assignment. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The first clause of a long text; a short text unchanged. */
export function shortened(text) {
  if (text.length <= BRIEF) return text;
  const clause = /^(.{8,}?)(?:[:;.] |$)/.exec(text)[1];
  return clause.length <= BRIEF ? clause : `${clause.slice(0, BRIEF - 1)}…`;
}

/** A pill with a level: ok, warn, error or wait. */
export function pill(node, level, text) {
  node.dataset.level = level;
  setText(node, text);
}

export const byId = (id) => document.getElementById(id);

/** A number with a fixed number of digits. */
export function figure(value, digits = 2) {
  return Number.isFinite(value) ? value.toFixed(digits) : '–';
}

/** The response of an API call; throws an Error with the server's message. */
export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error('cannot reach the dashboard');
  }
  if (answer.ok) return answer;
  let reason = `the dashboard returned status ${answer.status}`;
  try {
    reason = (await answer.json()).error || reason;
  } catch { /* no JSON: report the status */ }
  throw new Error(reason);
}

/** POST a JSON value. */
export function post(path, value) {
  return request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(value),
  });
}
