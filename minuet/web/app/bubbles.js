/**
 * What was said, as bubbles. Each keeps its element from the moment it is typed until it has been read, so that nothing
 * jumps and a screen reader's place is not lost.
 */

import { byId, make } from "./dom.js";
import { day, daysSince, time } from "./when.js";

/**
 * @typedef {import("../sdk/index.js").Conversation} Conversation
 * @typedef {{key: string, mine: boolean, body: string, at: number, number: number | null, state: "sending"|"failed"|"sent"}} Line
 */

/** Two of the same person that follow each other so soon stand close together. */
const TOGETHER_MS = 300_000;

export class Bubbles {
  #conversation;
  #now;
  /** @type {Map<string, HTMLElement>} */
  #elements = new Map();
  /** What is newer than this was unread when the conversation was opened. */
  #readAtOpening;
  #drawn = false;

  /** @param {Conversation} conversation @param {() => number} now the server's clock */
  constructor(conversation, now) {
    this.#conversation = conversation;
    this.#now = now;
    this.#readAtOpening = conversation.unread > 0 ? conversation.readUpTo : Infinity;
    byId("bubbles").replaceChildren();
  }

  render() {
    const lines = this.#lines();
    /** @type {Map<string, HTMLElement>} */
    const wanted = new Map();
    const latestMine = lines.filter(({ mine, state }) => mine && state === "sent").at(-1);
    let newShown = false;
    let lastKey = "";
    /** @param {string} key @param {HTMLElement} element */
    const add = (key, element) => {
      wanted.set(key, element);
      lastKey = key;
    };
    lines.forEach((line, index) => {
      const before = lines[index - 1];
      if (!before || daysSince(before.at, line.at) > 0) {
        const key = `day-${new Date(line.at).toDateString()}`;
        add(key, this.#rule(key, day(line.at, this.#now())));
      }
      if (!newShown && !line.mine && (line.number ?? 0) > this.#readAtOpening) {
        newShown = true;
        add("new", this.#rule("new", "New"));
      }
      const follows = before !== undefined && lastKey === before.key && before.mine === line.mine && line.at - before.at < TOGETHER_MS;
      add(line.key, this.#bubble(line, follows, line === latestMine));
    });
    this.#place(wanted);
    this.#drawn = true;
  }

  /** @returns {Line[]} */
  #lines() {
    const { messages, outgoing } = this.#conversation;
    return [
      ...messages.map(({ id, clientId, mine, body, sentAt, number }) => ({ key: (mine && clientId) || id, mine, body, at: sentAt, number, state: /** @type {const} */ ("sent") })),
      ...outgoing.map(({ clientId, body, state }) => ({ key: clientId, mine: true, body, at: this.#now(), number: null, state })),
    ];
  }

  /** @param {Line} line @param {boolean} follows @param {boolean} latest */
  #bubble(line, follows, latest) {
    const known = this.#elements.get(line.key);
    const bubble = known ?? make("li", "bubble");
    if (!known) {
      bubble.dataset.testid = "bubble";
      bubble.toggleAttribute("data-mine", line.mine);
      bubble.toggleAttribute("data-fresh", this.#drawn);
      const text = make("p", "bubble__text", line.body);
      text.dir = "auto";
      bubble.append(make("span", "visually-hidden", line.mine ? "You:" : `${this.#conversation.peer.first_name}:`), text, make("p", "bubble__meta"));
    }
    bubble.dataset.state = line.state;
    bubble.toggleAttribute("data-follows", follows);
    this.#meta(/** @type {HTMLElement} */ (bubble.lastElementChild), line, latest);
    return bubble;
  }

  /** @param {HTMLElement} place @param {Line} line @param {boolean} latest */
  #meta(place, line, latest) {
    const read = line.number !== null && line.number <= this.#conversation.peerReadUpTo;
    const state = line.state === "sending" ? "Sending…" : line.state === "failed" ? "Not sent" : latest ? (read ? "Read" : "Delivered") : "";
    const shown = `${line.state} ${state} ${this.#conversation.ended} ${line.number}`;
    // Buttons that did not change keep the focus.
    if (place.dataset.shown === shown) return;
    place.dataset.shown = shown;
    const clock = make("time", "", time(line.at));
    if (line.state === "sent") place.replaceChildren(clock, ...(state ? [made("bubble__state", state, "bubble-state")] : []));
    else if (line.state === "sending") place.replaceChildren(made("bubble__state", state, "bubble-state"));
    else place.replaceChildren(made("bubble__state", state, "bubble-state"), ...(this.#conversation.ended ? [] : [this.#button("Try again", "bubble-again", () => this.#conversation.retry(line.key))]), this.#button("Delete", "bubble-discard", () => this.#conversation.discard(line.key)));
  }

  /** @param {string} text @param {string} testid @param {() => void} onPress */
  #button(text, testid, onPress) {
    const button = /** @type {HTMLButtonElement} */ (made("bubble__again", text, testid, "button"));
    button.type = "button";
    button.addEventListener("click", () => {
      // The button goes with what it does.
      byId(this.#conversation.ended ? "talk-log" : "draft").focus();
      onPress();
    });
    return button;
  }

  /** @param {string} key @param {string} text */
  #rule(key, text) {
    const rule = this.#elements.get(key) ?? make("li", "bubbles__rule");
    rule.toggleAttribute("data-new", key === "new");
    if (rule.textContent !== text) rule.textContent = text;
    return rule;
  }

  /** Exactly these, in this order, and none moved that need not be. @param {Map<string, HTMLElement>} wanted */
  #place(wanted) {
    const list = byId("bubbles");
    for (const [key, element] of this.#elements) if (!wanted.has(key)) element.remove();
    let place = list.firstElementChild;
    for (const element of wanted.values()) {
      if (element === place) place = place.nextElementSibling;
      else list.insertBefore(element, place);
    }
    this.#elements = wanted;
  }
}

/** @param {string} className @param {string} text @param {string} testid @param {string} [tag] */
function made(className, text, testid, tag = "span") {
  const element = make(tag, className, text);
  element.dataset.testid = testid;
  return element;
}
