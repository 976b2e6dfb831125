/**
 * The server's side of chat, for one user and any number of connections: numbers messages from 1, keeps one `client_id`
 * once, and answers over the socket as over REST.
 */

import { LEO } from "./people.mjs";

export class FakeChatServer {
  /** What REST was asked, as `METHOD path`. */
  asked = [];
  /** Refusals to give first, by what is asked (`chat.send`, or `POST /connections/c/messages`): an error body, or `lost` for an answer that never comes. */
  next = {};
  #connections = new Map();
  #network;
  #runtime;

  constructor(network, runtime) {
    this.#network = network;
    this.#runtime = runtime;
    network.onconnect = (endpoint) => {
      endpoint.onframe = (frame) => setImmediate(() => this.#frame(endpoint, frame));
    };
    this.fetch = async (url, { method, body, headers }) => {
      const path = url.replace("https://minuet.test/api/v1", "");
      this.asked.push(`${method} ${path}`);
      this.authorization = headers.Authorization;
      await new Promise((resolve) => setImmediate(resolve));
      if (!network.online) throw new TypeError("fetch failed");
      const refusal = this.next[`${method} ${path.split("?")[0]}`]?.shift();
      if (refusal) return Response.json({ success: false, error: refusal }, { status: 400 });
      return this.#rest(method, new URL(path, "https://minuet.test"), body ? JSON.parse(body) : undefined);
    };
  }

  /** Somebody to write to. */
  acquaint(id, { said = [], peer = LEO, madeAt = 0, readUpTo = 0, presence = "offline" } = {}) {
    const connection = { id, peer, madeAt, messages: [], readUpTo, peerReadUpTo: 0, presence };
    this.#connections.set(id, connection);
    for (const [from, body] of said) this.keep(id, from, body);
    return connection;
  }

  /** Keeps a message without telling anybody; the message as the user sees it. */
  keep(id, from, body, clientId = null) {
    const { messages } = this.#connections.get(id);
    const known = clientId && messages.find((message) => message.client_id === clientId);
    if (known) return known;
    const number = messages.length + 1;
    const message = { id: `${id}-${number}`, number, client_id: clientId, from, body, sent_at: this.#runtime.now() + number };
    messages.push(message);
    return message;
  }

  /** The other side says something: kept, and told. */
  says(id, body) {
    const message = this.keep(id, "peer", body);
    this.#network.server.say("chat.message", { connection_id: id, ...message, unread: this.unread(id) });
    return message;
  }

  unread(id) {
    const { messages, readUpTo } = this.#connections.get(id);
    return messages.filter(({ from, number }) => from === "peer" && number > readUpTo).length;
  }

  bodies(id) {
    return this.#connections.get(id).messages.map(({ body }) => body);
  }

  #frame(endpoint, { type, id, data }) {
    if (id === undefined || !/^(chat|presence|safety)\./.test(type)) return;
    const refusal = this.next[type]?.shift();
    const done = refusal === undefined || refusal === "lost" ? this.#do(type, data) : null;
    if (refusal === "lost") return;
    if (done === null) endpoint.error(id, refusal.code, refusal);
    else if (done === "not_connected") endpoint.error(id, "not_connected");
    else endpoint.ok(id, done);
  }

  #do(type, data) {
    if (type === "presence.watch") return { watching: data.connection_ids.length };
    if (!data.connection_id) return {};
    const connection = this.#connections.get(data.connection_id);
    if (!connection) return "not_connected";
    if (type === "chat.send") {
      const { id, number, sent_at } = this.keep(data.connection_id, "self", data.body, data.client_id);
      return { id, number, sent_at };
    }
    if (type === "chat.read") {
      connection.readUpTo = Math.max(connection.readUpTo, data.up_to);
      return { up_to: connection.readUpTo, unread: this.unread(data.connection_id) };
    }
    if (type === "safety.block") this.#connections.delete(data.connection_id);
    return {};
  }

  #rest(method, { pathname, searchParams }, body) {
    const [, list, id, what] = pathname.split("/");
    if (list === "blocks" || list === "reports") return accept(this.#do(list === "blocks" ? "safety.block" : "safety.report", body));
    if (id === undefined) return this.#list(searchParams);
    const connection = this.#connections.get(id);
    if (!connection) return Response.json({ success: false, error: { code: "not_connected", retryable: false } }, { status: 404 });
    if (method === "DELETE") return accept({ ...(this.#connections.delete(id) && {}) });
    if (method === "POST" && what === "messages") return accept(this.keep(id, "self", body.body, body.client_id));
    if (method === "POST") return accept(this.#do("chat.read", { connection_id: id, ...body }));
    const limit = Number(searchParams.get("limit"));
    const after = searchParams.get("after");
    if (after !== null) {
      const found = connection.messages.filter(({ number }) => number > Number(after));
      return accept(found.slice(0, limit), { next_cursor: null, has_more: found.length > limit });
    }
    const before = Number(searchParams.get("cursor") ?? Infinity);
    const found = connection.messages.filter(({ number }) => number < before).reverse();
    const more = found.length > limit;
    return accept(found.slice(0, limit), { next_cursor: more ? String(found[limit - 1].number) : null, has_more: more });
  }

  #list(searchParams) {
    const all = [...this.#connections.values()];
    const start = Number(searchParams.get("cursor") ?? 0);
    const limit = Number(searchParams.get("limit"));
    const more = all.length > start + limit;
    const page = all.slice(start, start + limit).map((one) => ({
      connection_id: one.id, peer: one.peer, made_at: one.madeAt, last_message: one.messages.at(-1) ?? null,
      unread: this.unread(one.id), read_up_to: one.readUpTo, peer_read_up_to: one.peerReadUpTo, presence: one.presence,
    }));
    return accept(page, { next_cursor: more ? String(start + limit) : null, has_more: more });
  }
}

function accept(data, meta = {}) {
  return Response.json({ success: true, data, meta, request_id: "r" });
}
