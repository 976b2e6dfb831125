/**
 * Those one stays in touch with: who they are, who of them is there, what is unread, and a conversation with each.
 * Lists and histories come over REST, news over the socket; what is asked goes over the socket, or over REST where
 * the socket is away.
 */

import { Conversation } from "./conversation.js";
import { MinuetError } from "./errors.js";
import { Emitter } from "./events.js";
import { randomId } from "./ids.js";

const PAGE = 50;
const WATCHED_MAX = 100;

/**
 * @typedef {object} ChatOptions
 * @property {import("./connection.js").Connection} connection
 * @property {import("./rest.js").Rest} rest
 * @property {import("./runtime.js").Runtime} runtime
 *
 * @typedef {{
 *   "change": undefined, // anything in the list has changed
 *   "message": {conversation: Conversation, message: import("./conversation.js").Message},
 *   "ended": Conversation,
 * }} ChatEvents
 */

/** @extends {Emitter<ChatEvents>} */
export class Chat extends Emitter {
  #connection;
  #rest;
  #runtime;
  /** @type {Map<string, Conversation>} */
  #conversations = new Map();
  /** Unread messages of those not listed yet. @type {Map<string, number>} */
  #unread = new Map();
  /** The list has been asked for: it is kept up to date from then on. */
  #listed = false;
  /** @type {Set<string>} */
  #watched = new Set();
  #watchesAll = false;

  /** @param {ChatOptions} options */
  constructor({ connection, rest, runtime }) {
    super();
    this.#connection = connection;
    this.#rest = rest;
    this.#runtime = runtime;
  }

  /** Whom we know of, the most recently active first. */
  get conversations() {
    return [...this.#conversations.values()].sort((one, other) => other.activeAt - one.activeAt);
  }

  /** How many messages are unread in all. */
  get unread() {
    let count = 0;
    for (const unread of this.#unread.values()) count += unread;
    for (const { unread } of this.#conversations.values()) count += unread;
    return count;
  }

  /** @param {string} connectionId */
  conversation(connectionId) {
    return this.#conversations.get(connectionId) ?? null;
  }

  /**
   * A page of those one stays in touch with.
   *
   * @param {{cursor?: string | null, limit?: number}} [page]
   * @returns {Promise<{conversations: Conversation[], next: string | null}>}
   */
  async connections({ cursor = null, limit = PAGE } = {}) {
    const before = [...this.#conversations.values()];
    const from = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const { items, next } = await this.#rest.list(`/connections?limit=${limit}${from}`);
    this.#listed = true;
    const conversations = items.map((view) => this.#mirror(view));
    if (cursor === null && next === null) this.#forget(before.filter((one) => !conversations.includes(one)));
    this.#watchNew();
    this.emit("change", undefined);
    return { conversations, next };
  }

  /**
   * Wants to know who is there: of these, or of everybody, those to come included.
   *
   * @param {string[]} [connectionIds]
   */
  watch(connectionIds) {
    if (!connectionIds) this.#watchesAll = true;
    for (const id of connectionIds ?? []) this.#watched.add(id);
    this.#watchNew(connectionIds ?? []);
  }

  /** Does not want to know any more; without ids of anybody. @param {string[]} [connectionIds] */
  unwatch(connectionIds) {
    if (!connectionIds) {
      this.#watchesAll = false;
      this.#watched.clear();
    }
    for (const id of connectionIds ?? []) this.#watched.delete(id);
    if (this.#connection.state !== "ready") return;
    this.#connection.request("presence.unwatch", connectionIds ? { connection_ids: connectionIds } : {}).catch(() => {});
  }

  // What the client tells the chat.

  /** A message of the server; false where it is not about chat. @param {string} type @param {any} data */
  receive(type, data) {
    if (!/^(chat\.|presence\.update$|connection\.ended$)/.test(type)) return false;
    const conversation = this.#conversations.get(data.connection_id);
    if (conversation) conversation.receive(type, data);
    else if (type === "chat.message") this.#unknown(data);
    return true;
  }

  /** Two have become acquainted. @param {string} connectionId @param {import("./protocol.js").PeerCard} peer @param {number} madeAt */
  made(connectionId, peer, madeAt) {
    if (this.#conversations.has(connectionId)) return;
    this.#mirror({ connection_id: connectionId, peer, made_at: madeAt, last_message: null, unread: this.#unread.get(connectionId) ?? 0, read_up_to: 0, peer_read_up_to: 0 });
    this.#watchNew();
    this.emit("change", undefined);
  }

  /** A session began: its snapshot knows what is unread. @param {Record<string, number> | null | undefined} unread */
  restore(unread) {
    if (unread) {
      this.#unread = new Map(Object.entries(unread).filter(([id]) => !this.#conversations.has(id)));
      for (const conversation of this.#conversations.values()) conversation.setUnread(unread[conversation.id] ?? 0);
    }
    this.reattached(true);
    // Somebody may have been met, or have left, meanwhile.
    if (this.#listed || unread === null) this.connections().catch(() => {});
    this.emit("change", undefined);
  }

  /** The socket is back. @param {boolean} lost the session is another one */
  reattached(lost) {
    for (const conversation of this.#conversations.values()) conversation.reattached(lost);
    // What changed meanwhile was not told: watching again tells it all.
    const everybody = [...this.#watched];
    this.#watched.clear();
    for (const id of everybody) this.#watched.add(id);
    this.#sayWatch(everybody);
  }

  close() {
    for (const conversation of this.#conversations.values()) conversation.close();
    this.#conversations.clear();
    this.#unread.clear();
    this.#watched.clear();
    this.#listed = false;
  }

  /** @param {import("./protocol.js").ConnectionView} view */
  #mirror(view) {
    const known = this.#conversations.get(view.connection_id);
    if (known) {
      known.mirror(view);
      return known;
    }
    const conversation = new Conversation(view, {
      request: (twin) => this.#request(twin),
      list: (path) => this.#rest.list(path),
      tell: (type, data) => this.#connection.tell(type, data),
      runtime: this.#runtime,
      newClientId: randomId,
    });
    this.#unread.delete(view.connection_id);
    this.#conversations.set(conversation.id, conversation);
    conversation.on("change", () => this.emit("change", undefined));
    conversation.on("message", (message) => this.emit("message", { conversation, message }));
    conversation.on("ended", () => this.emit("ended", conversation));
    return conversation;
  }

  /** The whole list was asked for, and these, known before, are not in it. @param {Conversation[]} gone */
  #forget(gone) {
    for (const conversation of gone) {
      this.#conversations.delete(conversation.id);
      this.#watched.delete(conversation.id);
      conversation.finish();
      conversation.close();
    }
    this.#unread.clear();
  }

  /** Somebody we have not listed says something. @param {import("./protocol.js").ChatMessage} message */
  #unknown(message) {
    if (typeof message.unread === "number") this.#unread.set(message.connection_id ?? "", message.unread);
    this.emit("change", undefined);
    if (this.#listed) this.connections().catch(() => {});
  }

  /** @param {string[]} [ids] */
  #watchNew(ids = []) {
    const fresh = new Set(ids);
    if (this.#watchesAll) for (const id of this.#conversations.keys()) if (!this.#watched.has(id)) fresh.add(id);
    for (const id of fresh) this.#watched.add(id);
    this.#sayWatch([...fresh]);
  }

  /** @param {string[]} ids */
  #sayWatch(ids) {
    if (ids.length === 0 || this.#connection.state !== "ready") return;
    this.#connection.request("presence.watch", { connection_ids: ids.slice(0, WATCHED_MAX) }).catch(() => {});
  }

  /** @param {import("./conversation.js").Twin} twin */
  async #request({ type, data, method, path, body }) {
    if (type !== null && this.#connection.state === "ready") return this.#connection.request(type, data);
    if (this.#connection.state === "closed") throw new MinuetError("closed", "the connection is closed");
    return this.#rest.request(method, path, body);
  }
}
