/**
 * What this side has said and the server has not confirmed yet. One message after the other, so that they arrive in the
 * order in which they were said; each again and again under the same `client_id`, so that it arrives once.
 */

import { Backoff } from "./backoff.js";
import { MinuetError } from "./errors.js";
import { Timers } from "./timers.js";

/**
 * @typedef {object} OutgoingMessage
 * @property {string} clientId its name until it has a number, and afterwards too
 * @property {string} body
 * @property {number} saidAt by this device's clock
 * @property {"sending"|"failed"} state
 * @property {MinuetError | null} error why it failed
 *
 * @typedef {{id: string, number: number, sent_at: number}} Sent
 *
 * @typedef {object} OutgoingOptions
 * @property {(message: OutgoingMessage) => Promise<Sent>} deliver
 * @property {(message: OutgoingMessage, sent: Sent) => void} delivered
 * @property {() => void} changed
 * @property {import("./runtime.js").Runtime} runtime
 */

export class Outgoing {
  /** @type {OutgoingMessage[]} */
  #messages = [];
  /** @type {Map<OutgoingMessage, {resolve: (sent: Sent) => void, reject: (error: MinuetError) => void}>} */
  #waiting = new Map();
  #options;
  #backoff;
  /** @type {Timers<"retry">} */
  #timers;
  #busy = false;
  #closed = false;

  /** @param {OutgoingOptions} options */
  constructor(options) {
    this.#options = options;
    this.#backoff = new Backoff(options.runtime.random);
    this.#timers = new Timers(options.runtime);
  }

  /** In the order in which they were said. @returns {readonly OutgoingMessage[]} */
  get messages() {
    return this.#messages;
  }

  /**
   * @param {string} clientId
   * @param {string} body
   * @returns {Promise<Sent>} resolves when the server keeps it
   */
  add(clientId, body) {
    /** @type {OutgoingMessage} */
    const message = { clientId, body, saidAt: this.#options.runtime.now(), state: "sending", error: null };
    this.#messages.push(message);
    const sent = new Promise((resolve, reject) => this.#waiting.set(message, { resolve, reject }));
    // Whoever looks at `messages` need not look at the promise.
    sent.catch(() => {});
    this.#options.changed();
    this.kick();
    return sent;
  }

  /** Tries at once: the connection is back, or there is something new. */
  kick() {
    this.#timers.clear("retry");
    void this.#next();
  }

  /** Tries one that failed again, as the last of all. @param {string} clientId */
  retry(clientId) {
    const message = this.#messages.find((one) => one.clientId === clientId && one.state === "failed");
    if (!message) return;
    this.#messages = [...this.#messages.filter((one) => one !== message), message];
    message.state = "sending";
    message.error = null;
    this.#options.changed();
    this.kick();
  }

  /** Forgets one that failed. @param {string} clientId */
  discard(clientId) {
    this.#messages = this.#messages.filter((one) => one.clientId !== clientId || one.state !== "failed");
    this.#options.changed();
  }

  /** The server told of a message of ours before it answered. @param {string} clientId @param {Sent} sent */
  confirm(clientId, sent) {
    const message = this.#messages.find((one) => one.clientId === clientId);
    if (message) this.#done(message, sent);
  }

  close() {
    this.#closed = true;
    this.#timers.clearAll();
    const error = new MinuetError("closed", "the conversation is closed");
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    this.#messages = [];
  }

  async #next() {
    if (this.#busy || this.#closed || this.#timers.has("retry")) return;
    const message = this.#messages.find(({ state }) => state === "sending");
    if (!message) return;
    this.#busy = true;
    try {
      const sent = await this.#options.deliver(message);
      this.#backoff.reset();
      this.#done(message, sent);
    } catch (error) {
      this.#failed(message, error instanceof MinuetError ? error : new MinuetError("internal", String(error), { cause: error }));
    } finally {
      this.#busy = false;
    }
    void this.#next();
  }

  /** @param {OutgoingMessage} message @param {Sent} sent */
  #done(message, sent) {
    if (!this.#messages.includes(message)) return;
    this.#messages = this.#messages.filter((one) => one !== message);
    this.#waiting.get(message)?.resolve(sent);
    this.#waiting.delete(message);
    this.#options.delivered(message, sent);
  }

  /** @param {OutgoingMessage} message @param {MinuetError} error */
  #failed(message, error) {
    if (this.#closed || !this.#messages.includes(message)) return;
    if (error.retryable) {
      // Those behind it wait too: what was said first arrives first.
      this.#timers.set("retry", Math.max(this.#backoff.next(false), error.retryAfterMs ?? 0), () => void this.#next());
      return;
    }
    message.state = "failed";
    message.error = error;
    this.#waiting.get(message)?.reject(error);
    this.#waiting.delete(message);
    this.#options.changed();
  }
}
