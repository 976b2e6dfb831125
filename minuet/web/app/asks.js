/**
 * Questions that wait for an answer while the call goes on. They take neither the focus nor the screen: one line,
 * two buttons, and a bar that shows how long the question stands.
 */

import { byId, make } from "./dom.js";
import { say } from "./screens.js";

/**
 * @typedef {object} Ask
 * @property {string} id
 * @property {string} text
 * @property {number | null} untilAt by the server's clock; null stands until answered
 * @property {string} yes
 * @property {string} no
 * @property {() => void} onYes
 * @property {() => void} onNo
 */

export class Asks {
  /** @type {Map<string, {ask: Ask, card: HTMLElement, left: HTMLElement, askedAt: number}>} */
  #open = new Map();
  #now;

  /** @param {() => number} now the server's clock */
  constructor(now) {
    this.#now = now;
  }

  /** Shows exactly these. @param {Ask[]} asks */
  set(asks) {
    for (const id of [...this.#open.keys()]) if (!asks.some((ask) => ask.id === id)) this.#remove(id);
    for (const ask of asks) if (!this.#open.has(ask.id)) this.#add(ask);
  }

  clear() {
    this.set([]);
  }

  /** One frame: how long each still stands. */
  draw() {
    for (const { ask, left, askedAt } of this.#open.values()) {
      if (ask.untilAt === null) continue;
      const share = Math.max(0, ask.untilAt - this.#now()) / Math.max(1, ask.untilAt - askedAt);
      left.style.transform = `scaleX(${Math.min(1, share)})`;
    }
  }

  /** @param {Ask} ask */
  #add(ask) {
    const card = make("div", "ask");
    card.dataset.testid = `ask-${ask.id}`;
    card.setAttribute("role", "group");
    const text = make("p", "ask__text", ask.text);
    text.id = `ask-${ask.id}-text`;
    card.setAttribute("aria-labelledby", text.id);
    const buttons = make("div", "ask__buttons");
    buttons.append(
      button(ask.yes, "button button--primary button--small", `ask-${ask.id}-yes`, ask.onYes),
      button(ask.no, "button button--quiet button--small", `ask-${ask.id}-no`, ask.onNo),
    );
    const left = make("span", "ask__left");
    left.hidden = ask.untilAt === null;
    card.append(text, buttons, left);
    byId("asks").append(card);
    this.#open.set(ask.id, { ask, card, left, askedAt: this.#now() });
    say(`${ask.text} ${ask.yes}, or ${ask.no}.`);
  }

  /** @param {string} id */
  #remove(id) {
    const card = this.#open.get(id)?.card;
    this.#open.delete(id);
    // The focus must not fall into nowhere with the button that had it.
    if (card?.contains(document.activeElement)) byId("mute").focus();
    card?.remove();
  }
}

/** @param {string} text @param {string} className @param {string} testid @param {() => void} onPress */
function button(text, className, testid, onPress) {
  const element = /** @type {HTMLButtonElement} */ (make("button", className, text));
  element.type = "button";
  element.dataset.testid = testid;
  element.addEventListener("click", onPress);
  return element;
}
