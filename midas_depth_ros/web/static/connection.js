// The live connection: facts and frames over one WebSocket that reconnects automatically.
//
// A frame is confirmed once it is drawn, and only then is the next one of its stream sent: a slow
// browser sees fewer frames, never old ones. A hidden page disconnects, so that the robot can idle.

import { clock } from './facts.js';

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5000;
const SILENCE_MS = 3000; // the dashboard sends something every second
const DROP_MS = 15000; // a frame takes so long on the slowest links
const ECHO_MS = 1000;
const LOOK_MS = 250;
const HIDDEN_MS = 5000;

export class Connection {
  /**
   * onFacts(message), onFrame(header, blob) -> Promise, onOpening(),
   * onState('open' | 'silent' | 'closed' | 'held')
   */
  constructor(handlers) {
    Object.assign(this, handlers);
    this.socket = null;
    this.wait = FIRST_WAIT_MS;
    this.held = false;
    this.heard = clock(); // of texts
    this.came = this.heard; // of anything
    this.asked = -Infinity;
    this.state = '';
    document.addEventListener('visibilitychange', () => this.onVisibility());
    setInterval(() => this.watch(), LOOK_MS);
    this.open();
  }

  open() {
    if (this.socket || this.held) return;
    const address = new URL('api/live', document.baseURI);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(address.href);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    this.opened = clock();
    this.onOpening();
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      try {
        this.message(socket, event.data);
      } catch { // not a valid message
        this.drop();
      }
    };
    socket.onclose = () => this.closed(socket);
  }

  message(socket, data) {
    this.came = clock();
    if (typeof data !== 'string') {
      this.frame(socket, data);
      return;
    }
    const message = JSON.parse(data);
    this.heard = clock();
    this.wait = FIRST_WAIT_MS;
    this.onFacts(message);
    this.setState('open');
  }

  async frame(socket, data) {
    const length = new DataView(data).getUint16(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 2, length)));
    try {
      await this.onFrame(header, new Blob([new Uint8Array(data, 2 + length)]));
    } catch { /* this frame cannot be drawn; the next one may be */ }
    this.send({ shown: header.stream }, socket);
  }

  send(message, socket = this.socket) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  closed(socket) {
    if (this.socket !== socket) return;
    this.socket = null;
    this.setState(this.held ? 'held' : 'closed');
    if (this.held || document.hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 1.7, LONGEST_WAIT_MS);
  }

  setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.onState(state);
  }

  /** A connection that broke silently looks open: close it after a time without data. */
  watch() {
    if (!this.socket) return;
    const now = clock();
    if (now - Math.max(this.came, this.opened) > DROP_MS) this.drop();
    else if (this.state === 'open' && now - this.heard > SILENCE_MS) this.setState('silent');
    if (now - this.asked > ECHO_MS) {
      this.asked = now;
      this.send({ clock: now });
    }
  }

  drop() {
    const socket = this.socket;
    if (!socket) return;
    socket.onclose = null;
    socket.close();
    this.closed(socket);
  }

  hold(held) {
    this.held = held;
    clearTimeout(this.timer);
    if (!held) this.open();
    else if (this.socket) this.drop();
    else this.setState('held');
  }

  onVisibility() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.drop(), HIDDEN_MS);
    else this.open();
  }
}
