// The facts that the page has received, and until when they are valid by the page's own clock.
//
// The dashboard sends the age and lifetime of every fact. An echo bounds the delay of a message: the
// page sends its clock, and gets it back with the dashboard's. So a fact expires here whatever has
// stalled: the depth node, the dashboard, the network or this browser.

const MOST_ECHOES = 10; // of the last seconds: clocks drift

let lastTick = performance.now();
let lastDate = Date.now();
let elapsed = 0;

/** Milliseconds since the page was loaded, including those in which the machine slept. */
export function clock() {
  const [tick, date] = [performance.now(), Date.now()];
  elapsed += Math.max(0, tick - lastTick, date - lastDate);
  [lastTick, lastDate] = [tick, date];
  return elapsed;
}

/** A duration as text. */
export function formatDuration(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 120) return `${seconds}\u00a0s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)}\u00a0min` : `${Math.floor(seconds / 3600)}\u00a0h`;
}

export class Facts {
  constructor() {
    this.entries = new Map(); // name -> {value, at: ms, heard: s by the dashboard's clock, lifetime: ms}
    this.echoes = [];
    this.openedAt = clock();
    this.isFirst = true;
    this.frozenAt = null;
    this.lost = false;
  }

  /** A new connection is being opened: known facts keep their age by the page's clock. */
  open() {
    for (const entry of this.entries.values()) entry.at = this.heardAt(entry);
    for (const entry of this.entries.values()) entry.heard = null;
    this.echoes = [];
    this.openedAt = clock();
    this.isFirst = true;
    this.frozenAt = null;
  }

  /** The connection is lost: facts with a lifetime are unknown. */
  lose() {
    this.lost = true;
  }

  /** Freeze everything as it is now, until `open`. */
  freeze() {
    this.frozenAt = clock();
  }

  /** Take a message: facts that changed, and the ages of those that were set. */
  take({ now, echo, heard, ...values }) {
    this.lost = false;
    if (Number.isFinite(now)) this.synchronise(now, echo);
    const told = new Map(Object.entries(heard ?? {}));
    if (this.isFirst) {
      for (const name of this.entries.keys()) if (!told.has(name)) this.entries.delete(name);
      this.isFirst = false;
    }
    const changed = new Map(Object.entries(values));
    for (const [name, { age_s: age, lifetime_s: lifetime, silent }] of told) {
      const value = changed.has(name) ? changed.get(name) : this.entries.get(name)?.value ?? null;
      const known = Number.isFinite(lifetime);
      this.entries.set(name, {
        value: silent ? null : value, heard: now - age, at: 0, lifetime: known ? lifetime * 1000 : Infinity,
      });
    }
  }

  /** The dashboard's `now` is not before the page sent the echo, or opened the connection. */
  synchronise(now, echo) {
    const sent = Number.isFinite(echo) ? echo : this.openedAt;
    if (!Number.isFinite(echo) && this.echoes.length) return;
    this.echoes.push(sent - now * 1000);
    if (this.echoes.length > MOST_ECHOES) this.echoes.shift();
  }

  /** A time of the dashboard in the page's clock, never later than it was. */
  pageTime(heard) {
    return heard * 1000 + Math.max(...this.echoes);
  }

  heardAt(entry) {
    return entry.heard === null ? entry.at : this.pageTime(entry.heard);
  }

  now() {
    return this.frozenAt ?? clock();
  }

  /** Milliseconds since a fact was heard; NaN if never, or if it does not expire. */
  age(name) {
    const entry = this.entries.get(name);
    return entry && entry.lifetime !== Infinity ? Math.max(0, this.now() - this.heardAt(entry)) : NaN;
  }

  /** A fact as valid now; null if unknown. */
  get(name) {
    const entry = this.entries.get(name);
    if (!entry) return null;
    if (entry.lifetime === Infinity) return entry.value;
    return this.lost || this.age(name) > entry.lifetime ? null : entry.value;
  }

  /** "no data for 12 s" for an expired fact; '' while it is known, or never was. */
  silence(name) {
    const age = this.age(name);
    return this.get(name) === null && Number.isFinite(age) ? `no data for ${formatDuration(age)}` : '';
  }
}
