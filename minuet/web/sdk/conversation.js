/**
 * What two people who stay in touch say to each other, as one of them sees it. The server numbers the messages of a
 * connection from 1 without gaps: by the numbers they are put in order, and by the numbers it is noticed what is missing.
 */

import { MinuetError } from "./errors.js";
import { Emitter } from "./events.js";
import { Outgoing } from "./outgoing.js";
import { Timers } from "./timers.js";

const PAGE = 30;
const CATCH_UP_PAGE = 100;
const CATCH_UP_RETRY_MS = 2_000;
/** Once in this time others are told that we type. */
const TYPING_EVERY_MS = 3_000;
/** And this long they are believed to type. */
const TYPING_LASTS_MS = 5_000;

/**
 * @typedef {import("./protocol.js").ConnectionView} ConnectionView
 * @typedef {import("./outgoing.js").OutgoingMessage} OutgoingMessage
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {number} number its place, from 1
 * @property {string | null} clientId of our own messages, as it was sent
 * @property {boolean} mine
 * @property {string} body
 * @property {number} sentAt by the server's clock
 *
 * @typedef {object} Link what a conversation needs of the chat; `request` takes the REST twin where the socket is away
 * @property {(twin: Twin) => Promise<any>} request
 * @property {(path: string) => Promise<import("./rest.js").Page>} list
 * @property {(type: string, data: object) => void} tell
 * @property {import("./runtime.js").Runtime} runtime
 * @property {() => string} newClientId
 *
 * @typedef {{type: string | null, data?: object, method: string, path: string, body?: object}} Twin
 *
 * @typedef {{
 *   "change": undefined, // anything an app may show has changed
 *   "message": Message, // the other side said something, or we did on another device
 *   "ended": undefined, // nothing can be said any more
 * }} ConversationEvents
 */

/** @extends {Emitter<ConversationEvents>} */
export class Conversation extends Emitter {
  #link;
  /** By number, each once. @type {Message[]} */
  #messages = [];
  #outgoing;
  /** Where older ones go on; undefined before anything was loaded. @type {string | null | undefined} */
  #older;
  /** @type {Promise<void> | null} */
  #loading = null;
  #catchingUp = false;
  /** A read mark that the server does not know of yet. */
  #readWish = 0;
  #typedAt = 0;
  /** @type {Timers<"typing"|"catch-up">} */
  #timers;

  /** @param {ConnectionView} view @param {Link} link */
  constructor(view, link) {
    super();
    this.#link = link;
    this.#timers = new Timers(link.runtime);
    this.id = view.connection_id;
    this.peer = view.peer;
    this.madeAt = view.made_at;
    /** @type {"online"|"offline"|"unknown"} */
    this.presence = "unknown";
    /** How many messages of the other side have not been read here. */
    this.unread = 0;
    this.readUpTo = 0;
    /** How far the other side has read. */
    this.peerReadUpTo = 0;
    /** @type {Message | null} */
    this.lastMessage = null;
    this.peerTyping = false;
    /** Nothing can be said any more: one of the two ended it, or blocked the other. */
    this.ended = false;
    this.#outgoing = new Outgoing({
      deliver: ({ clientId, body }) => this.#deliver(clientId, body),
      delivered: ({ clientId, body }, { id, number, sent_at }) => this.#take({ id, number, clientId, mine: true, body, sentAt: sent_at }),
      changed: () => this.emit("change", undefined),
      runtime: link.runtime,
    });
    this.mirror(view);
  }

  /** What is known of it, oldest first. @returns {readonly Message[]} */
  get messages() {
    return this.#messages;
  }

  /** What we said and the server has not confirmed. @returns {readonly OutgoingMessage[]} */
  get outgoing() {
    return this.#outgoing.messages;
  }

  /** True where there are older messages; null before any were loaded. */
  get hasOlder() {
    return this.#older === undefined ? null : this.#older !== null;
  }

  /** When something was last said. */
  get activeAt() {
    return this.lastMessage?.sentAt ?? this.madeAt;
  }

  /** Loads the latest messages, once. */
  open() {
    if (this.#older !== undefined) return Promise.resolve();
    return this.#load("");
  }

  /** Loads a page of older messages. */
  loadOlder() {
    if (this.#older === undefined) return this.open();
    return this.#older === null ? Promise.resolve() : this.#load(`&cursor=${encodeURIComponent(this.#older)}`);
  }

  /**
   * Says something. It stands in `outgoing` at once, and is sent again until the server keeps it, over any number of
   * lost connections, once and in order.
   *
   * @param {string} body
   * @throws {MinuetError} what the server says where sending it again is of no use; it then stays in `outgoing`, failed
   */
  async send(body) {
    this.#typedAt = 0;
    await this.#outgoing.add(this.#link.newClientId(), body);
  }

  /** Tries a message that failed once more. @param {string} clientId */
  retry(clientId) {
    this.#outgoing.retry(clientId);
  }

  /** Forgets a message that failed. @param {string} clientId */
  discard(clientId) {
    this.#outgoing.discard(clientId);
  }

  /** Everything that is here has been read; before anything was loaded that is nothing. */
  markRead() {
    if (this.#older === undefined) return;
    const upTo = this.#messages.at(-1)?.number ?? 0;
    if (upTo <= this.readUpTo && this.unread === 0) return;
    this.readUpTo = Math.max(this.readUpTo, upTo);
    this.#readWish = this.readUpTo;
    this.unread = 0;
    this.emit("change", undefined);
    void this.#sayRead();
  }

  /** Somebody types here; call it at each key. */
  typing() {
    const now = this.#link.runtime.now();
    if (this.ended || now - this.#typedAt < TYPING_EVERY_MS) return;
    this.#typedAt = now;
    this.#link.tell("chat.typing", { connection_id: this.id });
  }

  /** Ends the connection for both; the other side is told nothing. */
  async end() {
    await this.#link.request({ type: null, method: "DELETE", path: `/connections/${this.id}` });
    this.finish();
  }

  /** Never meet, and never hear of each other, again. */
  async block() {
    const about = { connection_id: this.id };
    await this.#link.request({ type: "safety.block", data: about, method: "POST", path: "/blocks", body: about });
    this.finish();
  }

  /** @param {import("./protocol.js").ReportCategory} category @param {string} [note] */
  async report(category, note = "") {
    const body = { connection_id: this.id, category, note };
    await this.#link.request({ type: "safety.report", data: body, method: "POST", path: "/reports", body });
  }

  // What the chat tells a conversation.

  /** The server's view of it. @param {ConnectionView} view */
  mirror(view) {
    this.peer = view.peer;
    this.madeAt = view.made_at;
    this.presence = view.presence ?? this.presence;
    // What was read here and not yet said so is read all the same.
    if (this.#readWish === 0) this.unread = view.unread;
    this.readUpTo = Math.max(this.readUpTo, view.read_up_to);
    this.peerReadUpTo = Math.max(this.peerReadUpTo, view.peer_read_up_to);
    if (view.last_message) this.#take(messageOf(view.last_message));
    this.emit("change", undefined);
  }

  /** A message of the server about this conversation. @param {string} type @param {any} data */
  receive(type, data) {
    switch (type) {
      case "chat.message":
        this.#received(data);
        break;
      case "chat.read":
        if (data.by === "peer") this.peerReadUpTo = Math.max(this.peerReadUpTo, data.up_to);
        else {
          this.readUpTo = Math.max(this.readUpTo, data.up_to);
          this.unread = data.unread ?? this.unread;
        }
        this.emit("change", undefined);
        break;
      case "chat.typing":
        if (data.from === "peer") this.#setTyping(true);
        break;
      case "presence.update":
        this.presence = data.presence;
        if (data.presence === "offline") this.peerTyping = false;
        this.emit("change", undefined);
        break;
      case "connection.ended":
        this.finish();
        break;
      default:
        break;
    }
  }

  /** @param {number} unread */
  setUnread(unread) {
    // What was read here and not yet said so is read all the same.
    if (this.#readWish > 0 || unread === this.unread) return;
    this.unread = unread;
    this.emit("change", undefined);
  }

  /** The connection is back: what waited goes out, and what was missed comes in. @param {boolean} lost the session was not resumed */
  reattached(lost) {
    this.#outgoing.kick();
    if (this.#readWish > 0) void this.#sayRead();
    if (lost && this.#older !== undefined) void this.#catchUp(true);
  }

  /** Nothing can be said any more. */
  finish() {
    if (this.ended) return;
    this.ended = true;
    this.#setTyping(false);
    this.emit("change", undefined);
    this.emit("ended", undefined);
  }

  close() {
    this.#timers.clearAll();
    this.#outgoing.close();
    this.removeAll();
  }

  /** @param {string} clientId @param {string} body */
  async #deliver(clientId, body) {
    try {
      return await this.#link.request({
        type: "chat.send",
        data: { connection_id: this.id, client_id: clientId, body },
        method: "POST",
        path: `/connections/${this.id}/messages`,
        body: { client_id: clientId, body },
      });
    } catch (error) {
      if (error instanceof MinuetError && error.code === "not_connected") this.finish();
      throw error;
    }
  }

  /** @param {import("./protocol.js").ChatMessage} data */
  #received(data) {
    const message = messageOf(data);
    const known = this.#messages.some(({ number }) => number === message.number);
    this.#setTyping(false);
    if (data.unread !== undefined && data.unread !== null) this.unread = data.unread;
    if (message.mine && message.clientId) this.#outgoing.confirm(message.clientId, { id: message.id, number: message.number, sent_at: message.sentAt });
    this.#take(message);
    if (!known) this.emit("message", message);
  }

  /** @param {Message} message */
  #take(message) {
    if (!this.lastMessage || message.number > this.lastMessage.number) this.lastMessage = message;
    if (this.#older !== undefined) {
      this.#merge([message]);
      if (this.#gapAfter() !== null) void this.#catchUp(false);
    }
    this.emit("change", undefined);
  }

  /** @param {Message[]} more */
  #merge(more) {
    const byNumber = new Map(this.#messages.map((message) => [message.number, message]));
    for (const message of more) byNumber.set(message.number, message);
    this.#messages = [...byNumber.values()].sort((one, other) => one.number - other.number);
    const last = this.#messages.at(-1);
    if (last && (!this.lastMessage || last.number > this.lastMessage.number)) this.lastMessage = last;
  }

  /** The number before the first hole; null where there is none. */
  #gapAfter() {
    const hole = this.#messages.findIndex(({ number }, index) => index > 0 && number !== this.#messages[index - 1].number + 1);
    return hole < 0 ? null : this.#messages[hole - 1].number;
  }

  /** @param {string} from */
  #load(from) {
    this.#loading ??= this.#loadPage(from).finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  /** @param {string} from */
  async #loadPage(from) {
    const page = await this.#list(`?limit=${PAGE}${from}`);
    this.#older = page.next;
    this.#merge(page.items.map(messageOf));
    // The latest may have been told while the page was on its way.
    if (this.lastMessage) this.#merge([this.lastMessage]);
    this.emit("change", undefined);
    if (this.#gapAfter() !== null) void this.#catchUp(false);
  }

  /** Fetches what is missing in between, or at the end. @param {boolean} atEnd */
  async #catchUp(atEnd) {
    if (this.#catchingUp || this.ended) return;
    this.#catchingUp = true;
    this.#timers.clear("catch-up");
    try {
      let after = this.#gapAfter() ?? (atEnd ? (this.#messages.at(-1)?.number ?? 0) : null);
      while (after !== null) {
        const page = await this.#list(`?limit=${CATCH_UP_PAGE}&after=${after}`);
        this.#merge(page.items.map(messageOf));
        this.emit("change", undefined);
        after = page.more && page.items.length > 0 ? page.items[page.items.length - 1].number : this.#gapAfter();
        // A hole that the server does not fill is none.
        if (page.items.length === 0) break;
      }
    } catch (error) {
      const again = error instanceof MinuetError && error.retryable && !this.ended;
      if (again) this.#timers.set("catch-up", CATCH_UP_RETRY_MS, () => void this.#catchUp(true));
    } finally {
      this.#catchingUp = false;
    }
  }

  /** @param {string} query */
  async #list(query) {
    try {
      return await this.#link.list(`/connections/${this.id}/messages${query}`);
    } catch (error) {
      if (error instanceof MinuetError && error.code === "not_connected") this.finish();
      throw error;
    }
  }

  async #sayRead() {
    const upTo = this.#readWish;
    const body = { up_to: upTo };
    try {
      await this.#link.request({ type: "chat.read", data: { connection_id: this.id, ...body }, method: "POST", path: `/connections/${this.id}/read`, body });
    } catch (error) {
      // Said again when the connection is back.
      if (error instanceof MinuetError && error.retryable) return;
    }
    if (this.#readWish === upTo) this.#readWish = 0;
  }

  /** @param {boolean} typing */
  #setTyping(typing) {
    this.#timers.clear("typing");
    if (typing) this.#timers.set("typing", TYPING_LASTS_MS, () => this.#setTyping(false));
    if (typing === this.peerTyping) return;
    this.peerTyping = typing;
    this.emit("change", undefined);
  }
}

/** @param {import("./protocol.js").ChatMessage} wire @returns {Message} */
function messageOf(wire) {
  return { id: wire.id, number: wire.number, clientId: wire.client_id ?? null, mine: wire.from === "self", body: wire.body, sentAt: wire.sent_at };
}
