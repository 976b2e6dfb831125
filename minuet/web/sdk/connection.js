/**
 * One session over any number of sockets: handshake, requests and their answers, acknowledgements,
 * heartbeat, reconnecting and resuming. It knows nothing of queues or calls: what is not about the
 * session comes out as `message`.
 *
 * What it promises: messages come out once and in order. A request is answered, or rejected with a
 * retryable error, never forgotten. When the server could not keep the session, `ready` says
 * `resumed: false` and carries a snapshot of everything.
 */

import { ServerClock } from "./clock.js";
import { Comeback } from "./comeback.js";
import { MinuetError, disconnected } from "./errors.js";
import { Emitter } from "./events.js";
import { Line } from "./line.js";
import { handshakePatienceMs, silencePatienceMs } from "./patience.js";
import { CloseCode, mayReconnect } from "./protocol.js";
import { Receipts } from "./receipts.js";
import { Requests } from "./requests.js";
import { systemRuntime } from "./runtime.js";
import { Timers } from "./timers.js";

const ACK_AFTER_MS = 1_000;
const REQUEST_TIMEOUT_MS = 10_000;
const STABLE_AFTER_MS = 30_000;

/**
 * Why a token is wanted: `expired` and `expiring` mean that the one given last is of no more use.
 * @typedef {"connect"|"reconnect"|"expiring"|"expired"} TokenReason
 *
 * @typedef {"idle"|"connecting"|"ready"|"waiting"|"closed"} ConnectionState
 */

/**
 * @typedef {object} ConnectionOptions
 * @property {string} url `wss://host/v1/ws`
 * @property {(reason: TokenReason) => string | Promise<string>} getToken asked before each handshake and when
 *     the token runs out; a non-retryable MinuetError from it closes the connection
 * @property {string} deviceId stable for this device (or tab): what it was doing follows it
 * @property {{name: string, version: string}} client
 * @property {any} [WebSocket] for platforms without a global one
 * @property {import("./runtime.js").Runtime} [runtime]
 */

/**
 * @typedef {object} ConnectionEvents
 * @property {{state: ConnectionState, attempts: number, retryInMs?: number}} state
 * @property {import("./protocol.js").SessionReady} ready
 * @property {{session_id: string}} resumed
 * @property {{type: string, data: any}} message
 * @property {MinuetError} fault an error frame that answers no request
 * @property {{code: number, reason: string, error: MinuetError}} closed for good; nothing will reconnect
 */

/** @extends {Emitter<ConnectionEvents>} */
export class Connection extends Emitter {
  #options;
  #runtime;
  #requests;
  #comeback;
  /** @type {ConnectionState} */
  #state = "idle";
  #line = new Line({
    received: (message) => this.#receive(message),
    garbled: () => this.#drop(CloseCode.RESYNC, "a frame that is not JSON"),
    lost: (code, reason) => this.#lost(code, reason),
  });
  /** @type {{id: string, heartbeatS: number | undefined} | null} */
  #session = null;
  #receipts = new Receipts();
  #urgent = false;
  /** @type {TokenReason} */
  #tokenReason = "connect";
  /** @type {MinuetError | null} */
  #lastFault = null;
  /** @type {Timers<"retry"|"handshake"|"silence"|"ack"|"stable"|"drain">} */
  #timers;

  /** @param {ConnectionOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#runtime = options.runtime ?? systemRuntime;
    this.#requests = new Requests(this.#runtime);
    this.#timers = new Timers(this.#runtime);
    this.#comeback = new Comeback(this.#runtime);
    /** The server's time. */
    this.clock = new ServerClock(this.#runtime.now);
  }

  get state() {
    return this.#state;
  }

  get sessionId() {
    return this.#session?.id ?? null;
  }

  /**
   * Starts, and resolves when the session is ready; attempts go on until then.
   *
   * @returns {Promise<void>}
   * @throws {MinuetError} `closed`, when the server does not want us
   */
  open() {
    if (this.#state === "ready") return Promise.resolve();
    const opened = new Promise((resolve, reject) => {
      const offReady = this.once("ready", () => (offClosed(), resolve(undefined)));
      const offClosed = this.once("closed", ({ error }) => (offReady(), reject(error)));
    });
    if (this.#state === "idle" || this.#state === "closed") void this.#attempt();
    return /** @type {Promise<void>} */ (opened);
  }

  /** Ends the session at once, and with it whatever this device was doing. */
  close() {
    if (this.#state === "closed") return;
    const error = new MinuetError("closed", "closed by the application");
    this.#finish(CloseCode.NORMAL, "", error);
  }

  /**
   * Sends a request and waits for its answer. While the connection is away the request waits with it: after a
   * resume it is sent (again), after a lost session it is rejected with `disconnected`, retryable.
   *
   * @param {string} type
   * @param {object} [data]
   * @param {{timeoutMs?: number}} [options]
   * @returns {Promise<any>} the `data` of the `ok`
   */
  request(type, data = {}, { timeoutMs = REQUEST_TIMEOUT_MS } = {}) {
    if (this.#state === "closed") return Promise.reject(new MinuetError("closed", "the connection is closed"));
    const { id, answer } = this.#requests.book(type, data, timeoutMs);
    if (id > 0 && this.#state === "ready") this.#send({ type, id, data });
    return answer;
  }

  /**
   * Says something that is not answered, if the session is there to hear it; nothing is lost where it is not.
   *
   * @param {string} type
   * @param {object} data
   */
  tell(type, data) {
    if (this.#state === "ready") this.#send({ type, data });
  }

  /**
   * While true (in a call), silence is noticed sooner and attempts come quicker.
   *
   * @param {boolean} urgent
   */
  setUrgent(urgent) {
    if (this.#urgent === urgent) return;
    this.#urgent = urgent;
    if (this.#state === "ready") this.#watchSilence();
    else if (urgent) this.nudge();
  }

  /** Tries at once if an attempt is being waited for (the device is online again, the page is seen again). */
  nudge() {
    if (this.#state !== "waiting") return;
    this.#timers.clear("retry");
    void this.#attempt();
  }

  async #attempt() {
    this.#setState("connecting");
    const reason = this.#tokenReason;
    let token;
    try {
      token = await this.#options.getToken(reason);
    } catch (cause) {
      if (this.#state !== "connecting") return;
      if (cause instanceof MinuetError && !cause.retryable) this.#finish(CloseCode.BAD_TOKEN, cause.code, cause);
      else this.#retry();
      return;
    }
    // Closed, or closed and opened again, while the token was fetched.
    if (this.#state !== "connecting" || this.#line.isThere) return;
    this.#tokenReason = "reconnect";
    this.#lastFault = null;
    this.#line.dial(this.#options.url, this.#options.WebSocket ?? globalThis.WebSocket, () => this.#shakeHands(token));
    this.#timers.set("handshake", handshakePatienceMs(this.#urgent), () => this.#drop(CloseCode.NO_PONG, "no handshake"));
  }

  /** @param {string} token */
  #shakeHands(token) {
    const { deviceId, client } = this.#options;
    if (this.#session) {
      const data = { token, session_id: this.#session.id, last_seq: this.#receipts.last, device_id: deviceId, client };
      this.#send({ type: "session.resume", data });
    } else {
      this.#send({ type: "session.start", data: { token, device_id: deviceId, client } });
    }
  }

  /** @param {import("./protocol.js").ServerMessage} message */
  #receive(message) {
    this.clock.sample(message.data?.server_now);
    if (this.#state === "ready") this.#watchSilence();
    if (message.type === "session.ready") this.#ready(message);
    else if (message.type === "session.resumed") this.#resumed(message);
    else if (this.#inOrder(message)) this.#handle(message);
  }

  /**
   * Counts a reliable message: false for one that was seen before.
   *
   * @param {import("./protocol.js").ServerMessage} message
   */
  #inOrder({ seq }) {
    if (seq === undefined) return true;
    const place = this.#receipts.take(seq, this.#state === "ready");
    // Something reliable is missing. A fresh start tells us everything; going on would hide it.
    if (place === "gap") this.#drop(CloseCode.RESYNC, `expected message ${this.#receipts.last + 1}, got ${seq}`);
    if (place !== "next") return false;
    if (this.#receipts.urgent) this.#ack();
    else if (!this.#timers.has("ack")) this.#timers.set("ack", ACK_AFTER_MS, () => this.#ack());
    return true;
  }

  /** @param {import("./protocol.js").ServerMessage} message */
  #handle({ type, id, data }) {
    switch (type) {
      case "ping":
        this.#send({ type: "pong" });
        break;
      case "ok":
        if (id !== undefined) this.#requests.settle(id, data);
        break;
      case "error":
        this.#error(id, MinuetError.fromWire(data));
        break;
      case "session.expiring":
        void this.#refresh();
        break;
      case "session.drain":
        this.#drain(data?.reconnect_after_ms ?? 0);
        break;
      case "session.superseded":
        // The close with 4501 follows and says the same.
        break;
      default:
        this.emit("message", { type, data: data ?? {} });
    }
  }

  /** @param {number | undefined} id @param {MinuetError} error */
  #error(id, error) {
    if (id !== undefined && this.#requests.has(id)) {
      this.#requests.fail(id, error);
      return;
    }
    this.#lastFault = error;
    if (error.code === "token_expired") this.#tokenReason = "expired";
    this.emit("fault", error);
  }

  /** @param {import("./protocol.js").ServerMessage} message */
  #ready({ seq, data }) {
    const lost = this.#session !== null;
    this.#session = { id: data.session_id, heartbeatS: data.heartbeat_s };
    this.#receipts.begin(seq);
    // What was asked in the lost session may or may not have been done: its caller decides. What was asked
    // before there was any session has simply waited for one.
    if (lost) this.#requests.failAll(disconnected);
    this.#attached(0);
    this.emit("ready", data);
  }

  /** @param {import("./protocol.js").ServerMessage} message */
  #resumed({ data }) {
    // Up to last_id the server has handled them: their answers are in the replay.
    this.#attached(data.last_id ?? 0);
    this.emit("resumed", data);
  }

  /** @param {number} lastId the last request that the server has handled in this session */
  #attached(lastId) {
    this.#timers.clear("handshake");
    this.#comeback.arrived();
    this.#state = "ready";
    // Before anybody hears that we are ready and asks something new: ids must arrive in rising order.
    for (const { id, type, data } of this.#requests.unanswered(lastId)) this.#send({ type, id, data });
    this.#watchSilence();
    this.#timers.set("stable", STABLE_AFTER_MS, () => this.#comeback.stable());
    this.#setState("ready");
  }

  #ack() {
    this.#timers.clear("ack");
    if (this.#receipts.owed && this.#state === "ready") this.#send({ type: "ack" });
  }

  /**
   * Every frame but the handshake says how far we have read.
   *
   * @param {{type: string, id?: number, data?: object}} frame
   */
  #send(frame) {
    if (!this.#line.isOpen) return;
    const acknowledges = this.#state === "ready" && this.#receipts.owed && frame.type !== "pong";
    this.#line.send(acknowledges ? { ...frame, ack: this.#receipts.last } : frame);
    if (acknowledges) {
      this.#receipts.settle();
      this.#timers.clear("ack");
    }
  }

  async #refresh() {
    try {
      const token = await this.#options.getToken("expiring");
      await this.request("session.refresh", { token });
    } catch {
      // The server closes with 4005 when the token has run out, and the next handshake asks for another.
    }
  }

  /** @param {number} afterMs */
  #drain(afterMs) {
    this.#comeback.drained(afterMs);
    this.#timers.set("drain", afterMs, () => {
      this.#comeback.arrived();
      this.#drop(CloseCode.NO_PONG, "drain");
    });
  }

  #watchSilence() {
    this.#timers.set("silence", silencePatienceMs(this.#urgent, this.#session?.heartbeatS), () => this.#drop(CloseCode.NO_PONG, "silence"));
  }

  /**
   * Gives up a socket without waiting for its closing handshake: the other end may be gone.
   *
   * @param {number} code after RESYNC the session is no longer whole: the next handshake starts a new one
   * @param {string} why
   */
  #drop(code, why) {
    const socket = this.#line.release();
    this.#lost(code, why);
    socket?.close(code, why.slice(0, 100));
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    if (!mayReconnect(code)) {
      const fault = this.#lastFault;
      const error = new MinuetError(fault?.code ?? "closed", fault?.message ?? `closed with ${code}`, { details: { close_code: code }, cause: fault ?? undefined });
      this.#finish(code, reason, error);
      return;
    }
    if (code === CloseCode.TOKEN_EXPIRED) this.#tokenReason = "expired";
    if (code === CloseCode.RATE) this.#comeback.slowDown();
    if (code === CloseCode.RESYNC || code === CloseCode.NORMAL) this.#forgetSession();
    this.#retry();
  }

  #forgetSession() {
    if (this.#session) this.#requests.failAll(disconnected);
    this.#session = null;
    this.#receipts.begin();
  }

  #retry() {
    this.#timers.clearAll();
    const waitMs = this.#comeback.waitMs(this.#urgent, this.#lastFault?.retryAfterMs ?? 0);
    this.#timers.set("retry", waitMs, () => void this.#attempt());
    this.#setState("waiting", waitMs);
  }

  /** @param {number} code @param {string} reason @param {MinuetError} error */
  #finish(code, reason, error) {
    const socket = this.#line.release();
    this.#timers.clearAll();
    this.#session = null;
    this.#receipts.begin();
    this.#comeback.stable();
    this.#tokenReason = "connect";
    this.#setState("closed");
    this.#requests.failAll(() => new MinuetError("closed", error.message, { details: { close_code: code } }));
    socket?.close(CloseCode.NORMAL);
    this.emit("closed", { code, reason, error });
  }

  /** @param {ConnectionState} state @param {number} [retryInMs] */
  #setState(state, retryInMs) {
    this.#state = state;
    this.emit("state", { state, attempts: this.#comeback.attempts, retryInMs });
  }
}
