/** The screen of those one stays in touch with: a list, a conversation, and the way there and back. */

import { byId, make } from "./dom.js";
import { passing, say, screen, show } from "./screens.js";
import { Talk } from "./talk.js";
import { shortly } from "./when.js";
import { failure } from "./words.js";

/**
 * @typedef {import("../sdk/index.js").MinuetClient} MinuetClient
 * @typedef {import("../sdk/index.js").Conversation} Conversation
 */

const OPEN_KEY = "minuet.chat";
/** Nobody is drawn away from a call by somebody else's words. */
const UNDISTURBED = new Set(["call", "deciding", "rejoin"]);

export class Chats {
  /** @type {MinuetClient} */
  #client;
  #onLeave;
  #talk;
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** @type {string | null} */
  #next = null;
  #drawing = false;

  /**
   * @param {MinuetClient} client
   * @param {() => void} onLeave goes back to where the user came from
   */
  constructor(client, onLeave) {
    this.#client = client;
    this.#onLeave = onLeave;
    this.#talk = new Talk(
      () => this.#client.connection.clock.now(),
      () => this.#toList(),
    );
    this.use(client);
  }

  /** A new persona has a new client, and other people. @param {MinuetClient} client */
  use(client) {
    this.#client = client;
    this.#talk.close();
    this.#talk.forgetDrafts();
    this.#rows.clear();
    this.#next = null;
    byId("people").replaceChildren();
    byId("screen-chats").removeAttribute("data-open");
    client.on("ready", () => void this.#begin());
    client.chat.on("change", () => this.#renderSoon());
    client.chat.on("message", ({ conversation, message }) => {
      if (!message.mine && !this.#reads(conversation)) this.#tell(conversation, message.body);
    });
    this.#render();
  }

  /** The conversation that this tab had open before it was loaded again. */
  static get remembered() {
    return sessionStorage.getItem(OPEN_KEY);
  }

  /** Shows the list, or a conversation. @param {string | null} [connectionId] empty for the list */
  async open(connectionId = null) {
    show("chats", "Chats – Minuet");
    sessionStorage.setItem(OPEN_KEY, connectionId ?? "");
    this.#render();
    if (connectionId) await this.#openTalk(connectionId);
  }

  /** The user pressed the arrow over the list. */
  leave() {
    sessionStorage.removeItem(OPEN_KEY);
    this.#talk.close();
    byId("screen-chats").removeAttribute("data-open");
    this.#onLeave();
  }

  /** The user pressed the arrow over a conversation. */
  back() {
    this.#toList();
  }

  async more() {
    if (this.#next === null) return;
    try {
      this.#next = (await this.#client.chat.connections({ cursor: this.#next })).next;
      this.#render();
    } catch (error) {
      passing(failure(error));
    }
  }

  async #begin() {
    try {
      this.#next = (await this.#client.chat.connections()).next;
      this.#client.chat.watch();
    } catch {
      // The next session asks again; until then the list is what it was.
    }
    this.#render();
  }

  /** @param {string} connectionId */
  async #openTalk(connectionId) {
    const { chat } = this.#client;
    if (!chat.conversation(connectionId)) await chat.connections().catch(() => {});
    const conversation = chat.conversation(connectionId);
    if (!conversation || screen() !== "chats") return;
    sessionStorage.setItem(OPEN_KEY, connectionId);
    byId("screen-chats").dataset.open = "";
    document.title = `${conversation.peer.first_name} – Minuet`;
    const opening = this.#talk.open(conversation);
    this.#render();
    // With a keyboard of keys one writes at once; one of glass would cover what was said.
    if (matchMedia("(min-width: 900px) and (pointer: fine)").matches) byId("draft").focus();
    else byId("talk-name").focus({ preventScroll: true });
    await opening;
  }

  #toList() {
    const id = this.#talk.conversation?.id;
    this.#talk.close();
    sessionStorage.setItem(OPEN_KEY, "");
    byId("screen-chats").removeAttribute("data-open");
    document.title = "Chats – Minuet";
    this.#render();
    const row = id ? this.#rows.get(id) : undefined;
    /** @type {HTMLElement} */ (row?.firstElementChild ?? byId("chats-title")).focus();
  }

  /** @param {Conversation} conversation */
  #reads(conversation) {
    return screen() === "chats" && this.#talk.conversation === conversation && document.visibilityState === "visible";
  }

  /** @param {Conversation} conversation @param {string} body */
  #tell(conversation, body) {
    if (UNDISTURBED.has(screen())) return;
    const short = body.length > 60 ? `${body.slice(0, 60)}…` : body;
    if (screen() === "chats") say(`${conversation.peer.first_name} wrote: ${short}`);
    else passing(`${conversation.peer.first_name}: ${short}`);
  }

  /** Many changes may come at once. */
  #renderSoon() {
    if (this.#drawing) return;
    this.#drawing = true;
    queueMicrotask(() => {
      this.#drawing = false;
      this.#render();
    });
  }

  #render() {
    const { chat } = this.#client;
    const people = chat.conversations.filter((one) => !one.ended || one === this.#talk.conversation);
    const badge = byId("chats-unread");
    byId("chats-open").hidden = people.length === 0;
    badge.hidden = chat.unread === 0;
    badge.textContent = chat.unread > 99 ? "99+" : String(chat.unread);
    byId("chats-unread-word").textContent = chat.unread > 0 ? "unread" : "";
    if (screen() !== "chats") return;
    byId("people-none").hidden = people.length > 0;
    byId("people-more").hidden = this.#next === null;
    this.#place(people);
  }

  /** @param {Conversation[]} people */
  #place(people) {
    const list = byId("people");
    for (const [id, row] of this.#rows) {
      if (people.some((one) => one.id === id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    let place = list.firstElementChild;
    for (const one of people) {
      const row = this.#row(one);
      if (row === place) place = place.nextElementSibling;
      else list.insertBefore(row, place);
    }
  }

  /** @param {Conversation} one */
  #row(one) {
    const known = this.#rows.get(one.id);
    const row = known ?? make("li", "");
    this.#rows.set(one.id, row);
    if (!known) row.append(this.#button(one.id, one.peer.first_name));
    const button = /** @type {HTMLElement} */ (row.firstElementChild);
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (button.querySelector(`[data-part=${name}]`));
    const now = this.#client.connection.clock.now();
    part("face").dataset.presence = one.presence;
    part("last").textContent = one.peerTyping ? "is typing…" : preview(one);
    part("when").textContent = shortly(one.activeAt, now);
    part("unread").textContent = String(one.unread);
    part("unread").hidden = one.unread === 0;
    button.toggleAttribute("data-unread", one.unread > 0);
    button.setAttribute("aria-current", String(this.#talk.conversation === one));
    part("presence").textContent = one.presence === "online" ? ", online" : "";
    part("unread-word").textContent = one.unread > 0 ? "unread" : "";
    return row;
  }

  /** @param {string} id @param {string} name */
  #button(id, name) {
    const button = /** @type {HTMLButtonElement} */ (make("button", "person"));
    button.type = "button";
    button.dataset.testid = "person";
    // Its look says nothing that the words beside it do not.
    const face = labelled("span", "face", "face", [...name][0]?.toLocaleUpperCase() ?? "");
    face.setAttribute("aria-hidden", "true");
    const text = make("span", "person__text");
    const who = make("strong", "", name);
    who.append(labelled("span", "visually-hidden", "presence"));
    text.append(who, labelled("small", "", "last"));
    const side = make("span", "person__side");
    side.append(labelled("span", "", "when"), labelled("span", "badge", "unread"), labelled("span", "visually-hidden", "unread-word"));
    button.append(face, text, side);
    button.addEventListener("click", () => void this.#openTalk(id));
    return button;
  }
}

/** @param {string} tag @param {string} className @param {string} part @param {string} [text] */
function labelled(tag, className, part, text = "") {
  const element = make(tag, className, text);
  element.dataset.part = part;
  return element;
}

/** @param {Conversation} one */
function preview(one) {
  const waiting = one.outgoing.at(-1);
  if (waiting) return `You: ${waiting.body}`;
  if (!one.lastMessage) return "You stay in touch. Say hello.";
  return one.lastMessage.mine ? `You: ${one.lastMessage.body}` : one.lastMessage.body;
}
