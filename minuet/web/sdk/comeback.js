/** When to come back after a socket is lost: when a draining server asked for it, else by backing off. */

import { Backoff } from "./backoff.js";

export class Comeback {
  #backoff;
  #now;
  /** By our clock. @type {number | null} */
  #drainAt = null;

  /** @param {import("./runtime.js").Runtime} runtime */
  constructor({ random, now }) {
    this.#backoff = new Backoff(random);
    this.#now = now;
  }

  /** How many attempts have failed since the last stable connection. */
  get attempts() {
    return this.#backoff.attempts;
  }

  /** The server goes away, and wants us back after so long. @param {number} ms */
  drained(ms) {
    this.#drainAt = this.#now() + ms;
  }

  /** The connection stands: a drain is over. */
  arrived() {
    this.#drainAt = null;
  }

  /** It has stood for a while: the next loss is a new one. */
  stable() {
    this.#backoff.reset();
  }

  /** We came too often. */
  slowDown() {
    this.#backoff.atLeast(4);
  }

  /**
   * Milliseconds to wait now.
   *
   * @param {boolean} urgent a call waits for us; it waits only 15 s, so it does not wait for a drain's turn
   * @param {number} atLeastMs as the server asked
   */
  waitMs(urgent, atLeastMs) {
    const jitterMs = this.#backoff.next(urgent);
    const drainMs = this.#drainAt === null || urgent ? null : Math.max(0, this.#drainAt - this.#now());
    this.#drainAt = null;
    return drainMs ?? Math.max(jitterMs, atLeastMs);
  }
}
