/**
 * WebSockets without a network: the class for the client, and each connection's other end for the test. It keeps to
 * what contracts/websocket.mjs says of real ones.
 */

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** The server's end of one connection. */
class Endpoint {
  #socket;
  #lastSeq = 0;
  received = [];
  /** Called with each frame, as it comes. */
  onframe = null;
  closedWith = null;

  constructor(socket) {
    this.#socket = socket;
    this.url = socket.url;
    this.protocols = socket.protocols;
  }

  /** The frames of a type. */
  of(type) {
    return this.received.filter((frame) => frame.type === type);
  }

  /** Sends a frame as it is. */
  send(frame) {
    this.#socket.deliver(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  /** Sends a reliable message: with the next `seq`. */
  say(type, data, extra = {}) {
    this.#lastSeq += 1;
    this.send({ type, seq: this.#lastSeq, ...extra, data });
  }

  /** The next `say` has this number. */
  continueFrom(seq) {
    this.#lastSeq = seq - 1;
  }

  ok(id, data = {}) {
    this.say("ok", data, { id });
  }

  error(id, code, more = {}) {
    this.say("error", { code, message: code, retryable: false, ...more }, { id });
  }

  ready(more = {}) {
    const data = { session_id: "s-1", resumed: false, heartbeat_s: 20, resume_window_s: 60, server_now: 0, snapshot: { ticket: null, call: null }, ...more };
    this.say("session.ready", data);
  }

  close(code = 1000, reason = "") {
    this.#socket.closedByServer(code, reason);
  }

  /** Cuts the line: the client hears of it, if ever, as 1006. */
  cut() {
    this.#socket.closedByServer(1006, "");
  }

  take(text) {
    const frame = JSON.parse(text);
    this.received.push(frame);
    this.onframe?.(frame);
  }
}

export class FakeNetwork {
  /** Every connection that was opened, in order. */
  endpoints = [];
  /** While false, nobody answers. */
  online = true;
  attempts = 0;
  /** Called with the server's end of each connection, before the client knows that it is open. */
  onconnect = null;

  constructor() {
    const network = this;
    this.WebSocket = class FakeWebSocket {
      onopen = null;
      onmessage = null;
      onclose = null;
      onerror = null;
      readyState = CONNECTING;
      protocol = "";
      #endpoint = null;

      constructor(url, protocols = []) {
        this.url = url;
        this.protocols = [protocols].flat();
        network.attempts += 1;
        setImmediate(() => this.#connect());
      }

      #connect() {
        if (this.readyState !== CONNECTING) return;
        if (!network.online) {
          this.readyState = CLOSED;
          this.onerror?.({ type: "error" });
          this.onclose?.({ type: "close", code: 1006, reason: "", wasClean: false });
          return;
        }
        this.readyState = OPEN;
        this.protocol = this.protocols[0] ?? "";
        this.#endpoint = new Endpoint(this);
        network.endpoints.push(this.#endpoint);
        network.onconnect?.(this.#endpoint);
        this.onopen?.({ type: "open" });
      }

      send(text) {
        if (this.readyState === CONNECTING) throw new DOMException("not open yet", "InvalidStateError");
        if (this.readyState === OPEN) this.#endpoint.take(text);
      }

      close(code = 1005, reason = "") {
        if (code !== 1005 && code !== 1000 && (code < 3000 || code > 4999)) throw new DOMException("no such code", "InvalidAccessError");
        if (this.readyState >= CLOSING) return;
        const connected = this.readyState === OPEN;
        this.readyState = CLOSING;
        if (connected) this.#endpoint.closedWith = { code, reason };
        setImmediate(() => {
          this.readyState = CLOSED;
          this.onclose?.({ type: "close", code: connected ? code : 1006, reason: connected ? reason : "", wasClean: connected });
        });
      }

      deliver(text) {
        if (this.readyState === OPEN) this.onmessage?.({ type: "message", data: text });
      }

      closedByServer(code, reason) {
        if (this.readyState >= CLOSING) return;
        this.readyState = CLOSED;
        this.onclose?.({ type: "close", code, reason, wasClean: code !== 1006 });
      }
    };
  }

  /** The server's end of the newest connection. */
  get server() {
    return this.endpoints.at(-1);
  }
}
