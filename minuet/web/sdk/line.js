/**
 * The socket of the current attempt, and the frames on it. What an older socket still says is not heard. It knows nothing of
 * sessions: when to dial, what to say and when to hang up is the connection's to decide.
 */

import { SUBPROTOCOL } from "./protocol.js";

/**
 * @typedef {object} LineListener
 * @property {(message: import("./protocol.js").ServerMessage) => void} received
 * @property {() => void} garbled a frame that is no message
 * @property {(code: number, reason: string) => void} lost the other end, or the network, closed it; not after `release`
 */

export class Line {
  #listener;
  /** @type {any} */
  #socket = null;

  /** @param {LineListener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  /** A socket is there, though it may not be open yet. */
  get isThere() {
    return this.#socket !== null;
  }

  /**
   * @param {string} url
   * @param {any} WebSocketClass
   * @param {() => void} opened
   */
  dial(url, WebSocketClass, opened) {
    const socket = new WebSocketClass(url, [SUBPROTOCOL]);
    this.#socket = socket;
    socket.onopen = () => {
      if (socket === this.#socket) opened();
    };
    socket.onmessage = (/** @type {{data: unknown}} */ event) => {
      if (socket === this.#socket) this.#receive(event.data);
    };
    socket.onclose = (/** @type {{code: number, reason: string}} */ event) => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      this.#listener.lost(event.code, event.reason);
    };
    // A close always follows an error, and says more.
    socket.onerror = () => {};
  }

  /** A frame can be sent. */
  get isOpen() {
    return this.#socket?.readyState === 1;
  }

  /** @param {object} frame */
  send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  /**
   * Forgets the socket; the caller may close it, which takes no time: its closing handshake is not waited for, since the other
   * end may be gone.
   *
   * @returns {{close: (code: number, reason?: string) => void} | null}
   */
  release() {
    const socket = this.#socket;
    this.#socket = null;
    return socket;
  }

  /** @param {unknown} text */
  #receive(text) {
    let message;
    try {
      message = JSON.parse(String(text));
    } catch {
      this.#listener.garbled();
      return;
    }
    this.#listener.received(message);
  }
}
