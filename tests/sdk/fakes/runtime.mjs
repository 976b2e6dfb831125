/** Time and chance that stand still until a test moves them. */

/** Lets everything that is ready to run, run. */
export async function settle() {
  for (let turn = 0; turn < 12; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

export class FakeRuntime {
  #now = 1_700_000_000_000;
  #timers = new Map();
  #lastTimer = 0;
  #chances = [];

  constructor() {
    this.now = () => this.#now;
    this.random = () => this.#chances.shift() ?? 0.5;
    this.setTimeout = (callback, ms) => {
      this.#lastTimer += 1;
      this.#timers.set(this.#lastTimer, { at: this.#now + ms, callback });
      return this.#lastTimer;
    };
    this.clearTimeout = (handle) => this.#timers.delete(handle);
  }

  /** What `random` gives next; 0.5 after that. */
  chances(...values) {
    this.#chances.push(...values);
  }

  get timers() {
    return this.#timers.size;
  }

  /** Goes on by so many milliseconds, through every timer on the way. */
  async advance(ms) {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, one], [, other]) => one.at - other.at)[0];
      if (!due) break;
      const [handle, { at, callback }] = due;
      this.#timers.delete(handle);
      this.#now = Math.max(this.#now, at);
      callback();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}
