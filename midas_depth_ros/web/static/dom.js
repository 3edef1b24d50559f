// Small helpers to build the page without ever parsing text as HTML.

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

/** Set a text only where it differs: what did not change is not read out again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The beginning of a long text that says what it is about; the text itself where it is short. */
export function brief(text) {
  if (text.length <= BRIEF) return text;
  const clause = /^(.{8,}?)(?:[:;.] |$)/.exec(text)[1];
  return clause.length <= BRIEF ? clause : `${clause.slice(0, BRIEF - 1)}…`;
}

/** A pill with a level: ok, warn, error or wait. */
export function pill(node, level, text) {
  node.dataset.level = level;
  say(node, text);
}

export const byId = (id) => document.getElementById(id);

/** A number for people: few digits, no trailing noise. */
export function figure(value, digits = 2) {
  return Number.isFinite(value) ? value.toFixed(digits) : '–';
}

/** The answer of an API call; throws an Error with the server's own sentence. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error('the dashboard cannot be reached');
  }
  if (answer.ok) return answer;
  let reason = `the dashboard answered ${answer.status}`;
  try {
    reason = (await answer.json()).error || reason;
  } catch { /* no JSON: the status has to do */ }
  throw new Error(reason);
}

/** POST a JSON value. */
export function post(path, value) {
  return ask(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(value),
  });
}
