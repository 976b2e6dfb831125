/** A ring that empties with the clock. It draws; what time it is it is told. */

import { byId, minutes } from "./dom.js";

const LATE_MS = 30_000;

export class Ring {
  #ring;
  #dot;
  #clock;
  #orbit;

  /** @param {{ring: string, dot?: string, clock: string}} ids */
  constructor({ ring, dot, clock }) {
    this.#ring = byId(ring);
    this.#dot = dot ? byId(dot) : null;
    this.#clock = byId(clock);
    this.#orbit = this.#ring.closest(".orbit");
  }

  /**
   * @param {number | null} leftMs null before the clock runs
   * @param {number} totalMs
   */
  draw(leftMs, totalMs) {
    const share = leftMs === null || totalMs <= 0 ? 1 : Math.min(1, leftMs / totalMs);
    const text = leftMs === null ? "–:––" : minutes(leftMs);
    if (this.#clock.textContent !== text) this.#clock.textContent = text;
    this.#ring.style.strokeDasharray = leftMs === null ? "" : `${share * 1_000} 1000`;
    if (this.#dot) this.#dot.style.transform = `rotate(${share * 360}deg)`;
    this.#orbit?.toggleAttribute("data-late", leftMs !== null && leftMs <= Math.min(LATE_MS, totalMs / 3));
  }
}

/** Says the time that is left once at each mark. */
export class Countdown {
  #marks;
  #tell;
  /** @type {number | null} */
  #before = null;

  /** @param {number[]} marksMs @param {(ms: number) => void} tell */
  constructor(marksMs, tell) {
    this.#marks = marksMs;
    this.#tell = tell;
  }

  /** @param {number | null} leftMs */
  at(leftMs) {
    const before = this.#before;
    this.#before = leftMs;
    if (before === null || leftMs === null) return;
    const mark = this.#marks.find((ms) => before > ms && leftMs <= ms);
    if (mark !== undefined) this.#tell(mark);
  }
}
