// The live connection: facts and frames over one WebSocket, which comes back by itself.
//
// A frame is confirmed once it is drawn, and only then the next one of its stream is sent: a slow
// browser sees fewer frames, never old ones. A hidden page lets go, so that the robot can rest.

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5000;
const SILENCE_MS = 12000; // the dashboard says something every 5 s
const HIDDEN_MS = 5000;

export class Connection {
  /** onFacts(facts), onFrame(stream, blob) -> Promise, onState('open' | 'closed' | 'held') */
  constructor({ onFacts, onFrame, onState }) {
    Object.assign(this, { onFacts, onFrame, onState });
    this.socket = null;
    this.wait = FIRST_WAIT_MS;
    this.held = false;
    this.heard = 0;
    document.addEventListener('visibilitychange', () => this.onVisibility());
    setInterval(() => this.watch(), 1000);
    this.open();
  }

  open() {
    if (this.socket || this.held) return;
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    this.heard = performance.now();
    socket.onmessage = (event) => {
      this.heard = performance.now();
      if (typeof event.data === 'string') {
        this.wait = FIRST_WAIT_MS;
        this.onState('open');
        this.onFacts(JSON.parse(event.data));
      } else {
        this.frame(socket, event.data);
      }
    };
    socket.onclose = () => this.closed(socket);
  }

  async frame(socket, data) {
    const length = new DataView(data).getUint16(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 2, length)));
    try {
      await this.onFrame(header.stream, new Blob([new Uint8Array(data, 2 + length)]));
    } catch { /* a frame that cannot be drawn: the next one may be better */ }
    if (socket.readyState === WebSocket.OPEN) {
      socket.send(JSON.stringify({ shown: header.stream }));
    }
  }

  closed(socket) {
    if (this.socket !== socket) return;
    this.socket = null;
    this.onState(this.held ? 'held' : 'closed');
    if (this.held || document.hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 1.7, LONGEST_WAIT_MS);
  }

  /** A connection that broke without a word looks open: silence ends it. */
  watch() {
    if (this.socket && performance.now() - this.heard > SILENCE_MS) this.drop();
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
    if (held) this.drop();
    else this.open();
  }

  onVisibility() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.drop(), HIDDEN_MS);
    else this.open();
  }
}
