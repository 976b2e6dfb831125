/** One conversation on the screen: who it is with, what was said, and the place to say something. */

import { Bubbles } from "./bubbles.js";
import { byId } from "./dom.js";
import { passing, say } from "./screens.js";
import { askSafety, confirmRemoval } from "./sheets.js";
import { failure } from "./words.js";

/** @typedef {import("../sdk/index.js").Conversation} Conversation */

/** Whoever is that near to the end reads along. */
const NEAR_END_PX = 80;

export class Talk {
  #log = byId("talk-log");
  #draft = /** @type {HTMLTextAreaElement} */ (byId("draft"));
  #now;
  #onGone;
  /** @type {Conversation | null} */
  #conversation = null;
  /** @type {Bubbles | null} */
  #bubbles = null;
  /** What was typed and not sent, by conversation. @type {Map<string, string>} */
  #drafts = new Map();
  /** @type {Array<() => void>} */
  #offs = [];
  /** The end is in sight, and stays so whatever comes or however tall the place is. */
  #wasAtEnd = true;
  #height = 0;

  /**
   * @param {() => number} now the server's clock
   * @param {() => void} onGone the conversation was ended here
   */
  constructor(now, onGone) {
    this.#now = now;
    this.#onGone = onGone;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#draft.addEventListener("input", () => {
      this.#conversation?.typing();
      this.#renderComposer();
    });
    this.#draft.addEventListener("keydown", (event) => {
      // On a phone the key makes a new line, and the button sends.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
      event.preventDefault();
      this.#send();
    });
    byId("talk-older").addEventListener("click", () => void this.#showOlder());
    byId("talk-safety").addEventListener("click", () => void this.#safety());
    this.#log.addEventListener("scroll", () => this.#read(), { passive: true });
    document.addEventListener("visibilitychange", () => this.#read());
    // A keyboard that comes up takes room from above; the end stays in sight.
    new ResizeObserver(() => this.#resized()).observe(this.#log);
  }

  get conversation() {
    return this.#conversation;
  }

  /** @param {Conversation} conversation */
  async open(conversation) {
    if (conversation === this.#conversation) return;
    this.close();
    this.#conversation = conversation;
    this.#bubbles = new Bubbles(conversation, this.#now);
    this.#draft.value = this.#drafts.get(conversation.id) ?? "";
    const name = conversation.peer.first_name;
    const initial = [...name][0]?.toLocaleUpperCase() ?? "";
    for (const id of ["talk-face", "begin-face"]) byId(id).textContent = initial;
    byId("talk-name").textContent = name;
    byId("talk-safety").setAttribute("aria-label", `Block, report or delete: ${name}`);
    byId("draft-label").textContent = `Message to ${name}`;
    this.#log.setAttribute("aria-label", `What you and ${name} said`);
    byId("talk-begin-text").textContent = `You and ${name} stay in touch. Say hello.`;
    byId("talk").hidden = false;
    this.#wasAtEnd = true;
    this.#offs = [
      conversation.on("change", () => this.render()),
      conversation.on("message", (message) => message.mine || say(`${name}: ${message.body}`)),
    ];
    this.render();
    try {
      await conversation.open();
    } catch (error) {
      if (conversation === this.#conversation && !conversation.ended) passing(failure(error));
    }
  }

  forgetDrafts() {
    this.#drafts.clear();
  }

  close() {
    if (this.#conversation) this.#drafts.set(this.#conversation.id, this.#draft.value);
    for (const off of this.#offs.splice(0)) off();
    this.#conversation = null;
    this.#bubbles = null;
    byId("talk").hidden = true;
  }

  render() {
    const conversation = this.#conversation;
    if (!conversation) return;
    const { peer, presence, peerTyping, ended, messages, outgoing, hasOlder } = conversation;
    byId("talk-face").dataset.presence = presence;
    byId("talk-presence").textContent = presence === "online" ? "Online" : presence === "offline" ? "Not here at the moment" : "";
    byId("talk-typing").textContent = peerTyping ? `${peer.first_name} is typing…` : "";
    byId("talk-older").hidden = hasOlder !== true;
    byId("talk-begin").hidden = hasOlder !== false || messages.length + outgoing.length > 0;
    byId("composer").hidden = ended;
    byId("talk-over").hidden = !ended;
    this.#bubbles?.render();
    if (this.#wasAtEnd) this.#toEnd();
    this.#renderComposer();
    this.#read();
  }

  #renderComposer() {
    byId("send").setAttribute("aria-disabled", String(this.#draft.value.trim() === ""));
  }

  #send() {
    const body = this.#draft.value.trim();
    const conversation = this.#conversation;
    if (!conversation || body === "") return;
    this.#draft.value = "";
    this.#wasAtEnd = true;
    // What becomes of it stands under the bubble.
    conversation.send(body).catch((error) => say(`Not sent. ${failure(error)}`));
    this.#draft.focus();
    this.#renderComposer();
  }

  /** What is in sight has been read. */
  #read() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    // What scrolls because the place has got another height is not the reader.
    if (clientHeight === 0 || clientHeight !== this.#height) return;
    this.#wasAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (this.#wasAtEnd && document.visibilityState === "visible") this.#conversation?.markRead();
  }

  #resized() {
    this.#height = this.#log.clientHeight;
    if (this.#wasAtEnd) this.#toEnd();
    this.#read();
  }

  #toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  async #showOlder() {
    const conversation = this.#conversation;
    if (!conversation) return;
    const fromEnd = this.#log.scrollHeight - this.#log.scrollTop;
    this.#wasAtEnd = false;
    try {
      await conversation.loadOlder();
      this.#log.scrollTop = this.#log.scrollHeight - fromEnd;
      say("Older messages are shown");
      // The button that was pressed may be gone.
      if (!conversation.hasOlder) this.#log.focus({ preventScroll: true });
    } catch (error) {
      passing(failure(error));
    }
  }

  async #safety() {
    const conversation = this.#conversation;
    if (!conversation) return;
    const name = conversation.peer.first_name;
    const choice = await askSafety(name, "chat");
    try {
      if (choice.act === "report") {
        await conversation.report(choice.category, choice.note);
        passing("Thank you. A moderator will look at it.");
      } else if (choice.act === "block") {
        await conversation.block();
        passing(`${name} is blocked. You will not meet again.`);
        this.#onGone();
      } else if (choice.act === "remove" && (await confirmRemoval(name))) {
        await conversation.end();
        passing(`The conversation with ${name} is gone.`);
        this.#onGone();
      }
    } catch (error) {
      passing(failure(error));
    }
  }
}
