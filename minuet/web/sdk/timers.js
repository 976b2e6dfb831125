/** Timers by name: setting one again replaces it, and one that has fired is gone. */

/** @template {string} Name */
export class Timers {
  /** @type {Map<Name, unknown>} */
  #running = new Map();
  #runtime;

  /** @param {import("./runtime.js").Runtime} runtime */
  constructor(runtime) {
    this.#runtime = runtime;
  }

  /** @param {Name} name */
  has(name) {
    return this.#running.has(name);
  }

  /** @param {Name} name @param {number} ms @param {() => void} callback */
  set(name, ms, callback) {
    this.clear(name);
    const handle = this.#runtime.setTimeout(() => {
      this.#running.delete(name);
      callback();
    }, ms);
    this.#running.set(name, handle);
  }

  /** @param {Name} name */
  clear(name) {
    if (!this.#running.has(name)) return;
    this.#runtime.clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  clearAll() {
    for (const name of [...this.#running.keys()]) this.clear(name);
  }
}
