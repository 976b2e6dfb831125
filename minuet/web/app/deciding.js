/** The time is over: stay in touch, or not? */

import { byId } from "./dom.js";
import { Countdown, Ring } from "./ring.js";
import { say, show } from "./screens.js";
import { decision } from "./words.js";

/** @typedef {import("../sdk/index.js").Call} Call */

const MARKS_MS = [10_000];

export class Deciding {
  #ring = new Ring({ ring: "deciding-ring", clock: "deciding-clock" });
  #countdown = this.#newCountdown();
  #wholeMs = 0;

  /** @param {Call} call */
  open(call) {
    const { title, text } = decision(call.peer.first_name, call.role);
    byId("deciding-title").textContent = title;
    byId("deciding-text").textContent = text;
    this.#wholeMs = call.stateRemainingMs ?? 0;
    this.#countdown = this.#newCountdown();
    show("deciding", "Stay in touch? – Minuet");
    say(`The time is over. ${title}`);
  }

  /** One frame. @param {Call | null} call */
  draw(call) {
    const leftMs = call?.stateRemainingMs ?? 0;
    this.#ring.draw(leftMs, this.#wholeMs);
    this.#countdown.at(leftMs);
  }

  #newCountdown() {
    return new Countdown(MARKS_MS, () => say("10 seconds left to decide"));
  }
}
