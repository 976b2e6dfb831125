/**
 * How long to wait before the next attempt: full jitter under a ceiling that doubles, so that a
 * thousand clients that lost one server do not come back as one. In a call the ceiling stays low,
 * since the call waits only 15 s for us.
 */

const FIRST_MS = 500;
const CAP_MS = 20_000;
const URGENT_CAP_MS = 2_000;

export class Backoff {
  #attempts = 0;
  #random;

  /** @param {() => number} random uniform in [0, 1) */
  constructor(random) {
    this.#random = random;
  }

  /** How many attempts have failed since the last stable connection. */
  get attempts() {
    return this.#attempts;
  }

  /**
   * Milliseconds to wait, and one attempt counted.
   *
   * @param {boolean} urgent a call is waiting for us
   */
  next(urgent) {
    const ceiling = Math.min(urgent ? URGENT_CAP_MS : CAP_MS, FIRST_MS * 2 ** Math.min(this.#attempts, 16));
    this.#attempts += 1;
    return Math.floor(this.#random() * ceiling);
  }

  /** The next wait starts no lower than that of the nth attempt. @param {number} attempts */
  atLeast(attempts) {
    this.#attempts = Math.max(this.#attempts, attempts);
  }

  reset() {
    this.#attempts = 0;
  }
}
