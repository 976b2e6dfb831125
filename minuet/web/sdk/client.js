/**
 * The whole client: an account, a session, a place in a queue, at most one call. It puts together what the other
 * modules do and decides nothing of its own; what it shows after a lost session comes from the snapshot.
 */

import { Call } from "./call.js";
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { MinuetError } from "./errors.js";
import { Emitter } from "./events.js";
import { randomId } from "./ids.js";
import { LocalMedia } from "./media.js";
import { Rest } from "./rest.js";
import { systemRuntime } from "./runtime.js";

const VERSION = "0.1.0";
/** States in which the other side waits for us, so a lost connection is urgent. */
const URGENT_STATES = new Set(["proposed", "connecting", "live", "reconnecting"]);

/**
 * @typedef {object} ClientOptions
 * @property {string} [baseUrl] `https://host`; the page's own origin by default
 * @property {string} [deviceId] stable for this device; made at random by default
 * @property {import("./rest.js").TokenStorage} [storage] keeps tokens between page loads, such as `sessionStorage`
 * @property {(reason: import("./connection.js").TokenReason) => string | Promise<string>} [getToken] for tokens of
 *     another issuer; by default those of `client.account`
 * @property {boolean} [autoAccept] accept every match at once (default), or call `call.accept()` yourself
 * @property {{name: string, version: string}} [client] what the server's operators see
 * @property {any} [WebSocket]
 * @property {(configuration: RTCConfiguration) => RTCPeerConnection} [createPeerConnection]
 * @property {LocalMedia} [media] microphone and camera that outlive this client; else it has its own, and closes them
 * @property {typeof globalThis.fetch} [fetch]
 * @property {import("./runtime.js").Runtime} [runtime]
 *
 * @typedef {{intent: string, status: import("./protocol.js").QueueStatus | null}} Waiting
 *
 * @typedef {{
 *   "connection": {state: import("./connection.js").ConnectionState, attempts: number, retryInMs?: number},
 *   "ready": import("./protocol.js").SessionReady, // a session began: everything known before is replaced
 *   "closed": {code: number, error: MinuetError}, // for good, see docs/sdk.md
 *   "queue": Waiting, // waiting, or news about it
 *   "queue.left": {reason: string}, // not waiting any more, and not for a match
 *   "match": Call, // a call was found; with `autoAccept` it is being accepted
 *   "call": Call, // a call that was already there, found in a snapshot
 *   "ended": {call: Call, end: import("./call.js").CallEnd},
 *   "connection.made": {connectionId: string, callId: string, peer: import("./protocol.js").PeerCard, call: Call | null},
 *   "message": {type: string, data: any}, // whatever else the server says
 * }} ClientEvents
 */

/** @extends {Emitter<ClientEvents>} */
export class MinuetClient extends Emitter {
  #options;
  #runtime;
  /** @type {Call | null} */
  #call = null;
  /** @type {Waiting | null} */
  #waiting = null;
  #away = false;

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    super();
    this.#options = options;
    this.#runtime = options.runtime ?? systemRuntime;
    const baseUrl = options.baseUrl ?? globalThis.location.origin;
    /** Registration, login and anything else over REST. */
    this.account = new Rest({ baseUrl, storage: options.storage, fetch: options.fetch, runtime: options.runtime, getToken: options.getToken });
    /** Microphone and camera. */
    this.media = options.media ?? new LocalMedia();
    this.connection = new Connection({
      url: `${baseUrl.replace(/^http/, "ws").replace(/\/$/, "")}/v1/ws`,
      getToken: options.getToken ?? ((reason) => this.account.accessToken(reason === "expiring" || reason === "expired")),
      deviceId: options.deviceId ?? randomId(),
      client: options.client ?? { name: "minuet-web", version: VERSION },
      WebSocket: options.WebSocket,
      runtime: options.runtime,
    });
    /** Those one stays in touch with. */
    this.chat = new Chat({ connection: this.connection, rest: this.account, runtime: this.#runtime });
    this.connection.on("state", (state) => this.emit("connection", state));
    this.connection.on("ready", (session) => this.#restore(session));
    this.connection.on("resumed", () => {
      this.#call?.reattached();
      this.chat.reattached(false);
    });
    this.connection.on("message", ({ type, data }) => this.#receive(type, data));
    this.connection.on("closed", ({ code, error }) => this.emit("closed", { code, error }));
  }

  /** The current call, also while it is being decided on; null when there is none. */
  get call() {
    return this.#call;
  }

  /** What is being waited for; null when nothing is. */
  get waiting() {
    return this.#waiting;
  }

  /** Opens the session; resolves when it is ready. */
  connect() {
    return this.connection.open();
  }

  /** Ends the session, and with it the place in the queue and the call. */
  close() {
    this.connection.close();
    this.chat.close();
    this.#dropCall({ reason: "unknown", durationMs: 0, requeued: false });
    this.#waiting = null;
    if (this.#options.media) return;
    this.media.closeCamera();
    this.media.closeMicrophone();
  }

  /** The device is online again, or the page is looked at again: no need to wait for the next attempt. */
  nudge() {
    this.connection.nudge();
  }

  /**
   * Waits for somebody to talk to.
   *
   * @param {string} intent such as `dating` or `friends`
   * @param {import("./protocol.js").Preferences} [preferences]
   */
  async joinQueue(intent, preferences = {}) {
    await this.connection.request("queue.join", { intent, preferences });
    // The match may have come with the answer.
    if (!this.#call || this.#call.end || this.#call.state === "deciding") this.#nowWaiting({ intent, status: null });
  }

  async leaveQueue() {
    this.#waiting = null;
    await this.connection.request("queue.leave");
  }

  /** True while this device has said that its user is away; a place in the queue is kept meanwhile, for some minutes. */
  get away() {
    return this.#away;
  }

  /** @param {boolean} away */
  async setAway(away) {
    await this.connection.request("presence.set", { away });
    this.#away = away;
  }

  /** A new session does not know. @param {boolean} known */
  #restoreAway(known) {
    if (this.#away && !known) this.setAway(true).catch(() => (this.#away = false));
    this.#away ||= known;
  }

  /** @param {string} type @param {any} data */
  #receive(type, data) {
    switch (type) {
      case "queue.status":
        this.#nowWaiting({ intent: data.intent, status: data });
        break;
      case "queue.left":
        this.#waiting = null;
        this.emit("queue.left", { reason: data.reason });
        break;
      case "match.found":
        this.#matched(data);
        break;
      case "connection.made":
        this.chat.made(data.connection_id, data.peer, this.connection.clock.now());
        this.#callOf(data.call_id)?.receive(type, data);
        this.emit("connection.made", {
          connectionId: data.connection_id,
          callId: data.call_id,
          peer: data.peer,
          call: this.#callOf(data.call_id),
        });
        break;
      default:
        if (/^(call|video|connect)\./.test(type)) this.#callOf(data.call_id)?.receive(type, data);
        else if (!this.chat.receive(type, data)) this.emit("message", { type, data });
    }
  }

  /** @param {string} callId */
  #callOf(callId) {
    return this.#call?.id === callId ? this.#call : null;
  }

  /** @param {import("./protocol.js").MatchFound} found */
  #matched(found) {
    if (this.#call?.id === found.call_id) return;
    this.#dropCall({ reason: "unknown", durationMs: 0, requeued: false });
    this.#waiting = null;
    const call = this.#newCall(found, false);
    this.emit("match", call);
    if (this.#options.autoAccept !== false) {
      // A refusal needs no answer of ours: the call ends by itself and says so.
      call.accept().catch(() => {});
    }
  }

  /** @param {import("./protocol.js").SessionReady} session */
  #restore(session) {
    const { call: view, ticket } = session.snapshot ?? {};
    if (this.#call && this.#call.id !== view?.call_id) this.#dropCall({ reason: "unknown", durationMs: 0, requeued: false });
    if (view && this.#call) {
      this.#call.receive("call.state", view);
      this.#call.reattached();
    } else if (view && view.state !== "ended") {
      this.emit("call", this.#newCall(view, true));
    }
    const wasWaiting = this.#waiting !== null;
    this.#waiting = null;
    if (ticket) this.#nowWaiting({ intent: ticket.intent, status: null });
    else if (wasWaiting && !view) this.emit("queue.left", { reason: "session_lost" });
    this.#restoreAway(session.snapshot?.presence === "away");
    this.chat.restore(session.snapshot?.unread);
    this.emit("ready", session);
  }

  /**
   * @param {import("./protocol.js").MatchFound | import("./protocol.js").CallView} found
   * @param {boolean} restored
   */
  #newCall(found, restored) {
    const call = new Call(found, {
      request: (type, data) => this.connection.request(type, data),
      clock: this.connection.clock,
      media: this.media,
      createPeerConnection: this.#options.createPeerConnection ?? ((configuration) => new RTCPeerConnection(configuration)),
      runtime: this.#runtime,
      restored,
    });
    this.#call = call;
    this.#watchUrgency();
    call.on("change", () => this.#watchUrgency());
    call.on("ended", (end) => this.#ended(call, end));
    return call;
  }

  #watchUrgency() {
    this.connection.setUrgent(this.#call !== null && URGENT_STATES.has(this.#call.state));
  }

  /** @param {Call} call @param {import("./call.js").CallEnd} end */
  #ended(call, end) {
    if (this.#call === call) this.#call = null;
    this.#watchUrgency();
    this.emit("ended", { call, end });
  }

  /** @param {import("./call.js").CallEnd} end */
  #dropCall(end) {
    this.#call?.finish(end);
  }

  /** @param {Waiting} waiting */
  #nowWaiting(waiting) {
    this.#waiting = waiting;
    this.emit("queue", waiting);
  }
}
