/** Keeps the screen lit while two people talk and look at nothing. */
export class WakeLock {
  #wanted = false;
  /** @type {any} */
  #lock = null;

  /** @param {boolean} wanted */
  async keep(wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    if (!wanted) {
      this.#lock?.release?.();
      this.#lock = null;
      return;
    }
    const lock = await navigator.wakeLock?.request("screen").catch(() => null);
    // Not wanted any more by the time it came.
    if (this.#wanted) this.#lock = lock;
    else lock?.release?.();
  }
}
