/**
 * What time it is at the server. A message that carries `server_now` is always late by its way
 * through the network, and by minutes when it comes out of a replay; so the largest offset seen lately
 * is the nearest to the truth.
 */

const SAMPLES = 8;

export class ServerClock {
  /** @type {number[]} */
  #offsets = [];
  #now;

  /** @param {() => number} now this device's clock, in milliseconds */
  constructor(now) {
    this.#now = now;
  }

  /** @param {unknown} serverNow `server_now` of a message that has just arrived */
  sample(serverNow) {
    if (typeof serverNow !== "number") return;
    this.#offsets.push(serverNow - this.#now());
    // Old samples go, so that a device whose own clock is set follows within a few messages.
    if (this.#offsets.length > SAMPLES) this.#offsets.shift();
  }

  /** Milliseconds since the Unix epoch, by the server's clock. */
  now() {
    return this.#now() + (this.#offsets.length > 0 ? Math.max(...this.#offsets) : 0);
  }

  /**
   * Milliseconds from now to `at`, never negative.
   *
   * @param {number} at
   */
  until(at) {
    return Math.max(0, at - this.now());
  }
}
