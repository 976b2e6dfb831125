/**
 * One call as this side sees it: the server's view mirrored, and what may be asked. The server decides everything; here
 * nothing is assumed that it has not said, with one exception: what is taken back (video, the call itself) stops here
 * at once, whatever the network does.
 */

import { CallMedia } from "./call-media.js";
import { factsOf, hasMedia } from "./call-view.js";
import { Emitter } from "./events.js";
import { VideoTerms } from "./video-terms.js";

/**
 * @typedef {object} CallOptions
 * @property {(type: string, data: object) => Promise<any>} request
 * @property {import("./clock.js").ServerClock} clock
 * @property {import("./media.js").LocalMedia} media
 * @property {(configuration: RTCConfiguration) => RTCPeerConnection} createPeerConnection
 * @property {import("./runtime.js").Runtime} runtime
 * @property {boolean} restored the call was running before this page was
 *
 * @typedef {import("./call-media.js").Sides} Sides
 * @typedef {import("./call-view.js").Pending} Pending
 * @typedef {{reason: import("./protocol.js").EndReason | "unknown", durationMs: number, requeued: boolean}} CallEnd
 */

/**
 * @typedef {{
 *   "change": undefined, // anything an app may show has changed; read it from the call
 *   "media": import("./peer.js").MediaState,
 *   "remotestream": MediaStream, // the peer's tracks changed
 *   "video.requested": {untilAt: number}, // the guest asks for video (in `mutual`: the other)
 *   "video.allowed": Sides,
 *   "video.denied": {reason: string},
 *   "video.revoked": Sides,
 *   "video.refused": import("./errors.js").MinuetError, // the server refused to relay a description
 *   "extend.requested": {untilAt: number},
 *   "connect.prompt": {expiresAt: number},
 *   "connection.made": {connectionId: string, peer: any},
 *   "mediaerror": import("./errors.js").MinuetError, // the microphone could not be opened
 *   "ended": CallEnd,
 * }} CallEvents
 */

/** @extends {Emitter<CallEvents>} */
export class Call extends Emitter {
  #options;
  #media;
  #version = -1;
  #video;

  /**
   * @param {import("./protocol.js").MatchFound | import("./protocol.js").CallView} found
   * @param {CallOptions} options
   */
  constructor(found, options) {
    super();
    this.#options = options;
    this.id = found.call_id;
    this.seat = found.seat;
    this.role = found.role;
    this.peer = found.peer;
    /** @type {import("./protocol.js").CallStateName} */
    this.state = "proposed";
    /** When the clock runs out, by the server's time; null before it runs. @type {number | null} */
    this.endsAt = null;
    /** When this state runs out. @type {number | null} */
    this.deadlineAt = null;
    /** How long the clock had to run when `endsAt` was last set. */
    this.clockMs = 0;
    this.peerAttached = true;
    this.#video = new VideoTerms(found.seat);
    /** @type {{video: Pending | null, extend: Pending | null}} */
    this.pending = { video: null, extend: null };
    /** The two stay in touch. */
    this.connected = false;
    /** How often the clock may still be extended; null where the server does not say. @type {number | null} */
    this.extensionsLeft = null;
    /** @type {CallEnd | null} */
    this.end = null;
    this.#media = this.#makeMedia(options);
    if ("accept_by_at" in found) {
      this.deadlineAt = found.accept_by_at;
      this.#media.transportPolicy = found.ice_transport_policy ?? "all";
    } else {
      this.#mirror(found);
    }
  }

  /** Milliseconds left on the clock, by the server's time; null before it runs. */
  get remainingMs() {
    return this.endsAt === null ? null : this.#options.clock.until(this.endsAt);
  }

  /** Milliseconds left in this state. */
  get stateRemainingMs() {
    return this.deadlineAt === null ? null : this.#options.clock.until(this.deadlineAt);
  }

  /** Who may send video. @returns {Readonly<Sides>} */
  get videoAllowed() {
    return this.#video.allowed;
  }

  get isController() {
    return this.role === "controller";
  }

  /** True where this side may ask for video (an approval of the other side follows). */
  get mayRequestVideo() {
    return this.role !== "controller";
  }

  /** True where this side's word brings, or with `mutual` helps to bring, a connection. */
  get mayConnect() {
    return this.role !== "guest";
  }

  /** True where this side's address is hidden from the peer: all media goes through relays, and nothing else is tried. */
  get addressHidden() {
    return this.#media.transportPolicy === "relay";
  }

  get muted() {
    return this.#media.muted;
  }

  /** True while our camera is open for this call. */
  get cameraOn() {
    return this.#media.cameraOn;
  }

  /** What the peer sends: audio, and video while it is allowed. One stream for the whole call. */
  get remoteStream() {
    return this.#media.remoteStream;
  }

  /**
   * The peer's video track, where it may send one. Whether pictures come is another matter: a camera goes on and off
   * without any signaling, and `track.muted` cannot be trusted (Chromium leaves it true after a rollback).
   */
  get remoteVideo() {
    const track = this.remoteStream?.getVideoTracks()[0];
    return this.videoAllowed.peer && track?.readyState === "live" ? track : null;
  }

  /** @type {import("./peer.js").MediaState} */
  get media() {
    return this.#media.state;
  }

  /** The current peer connection, for statistics. */
  get pc() {
    return this.#media.pc;
  }

  accept() {
    return this.#ask("call.accept");
  }

  decline() {
    return this.#ask("call.decline");
  }

  /**
   * Takes up media again in a call that was running before this page was loaded. Call it from a press: it opens the
   * microphone.
   *
   * @throws {import("./errors.js").MinuetError} what the device says
   */
  rejoin() {
    return this.#media.rejoin();
  }

  /** Ends the call. Media stops here at once. */
  hangup() {
    this.#media.stop();
    return this.#ask("call.hangup");
  }

  /** Voice on or off; nothing is negotiated. @param {boolean} muted */
  mute(muted) {
    this.#media.mute(muted);
    this.emit("change", undefined);
  }

  requestVideo() {
    return this.#ask("video.request");
  }

  /**
   * The controller's yes, or her invitation. `receive`: only the other side sends.
   *
   * @param {"both"|"receive"} direction
   */
  approveVideo(direction) {
    // After `both`, `receive` takes our own sending back, so it binds here first.
    if (direction === "receive" && this.videoAllowed.self) {
      return this.#takeBack({ self: false, peer: this.videoAllowed.peer }, "video.approve", { direction });
    }
    return this.#ask("video.approve", { direction });
  }

  denyVideo() {
    return this.#ask("video.deny");
  }

  /** Takes video back, both ways. It stops here at once, before the server knows. */
  revokeVideo() {
    return this.#takeBack({ self: false, peer: false }, "video.revoke");
  }

  /**
   * Opens the camera and sends it, as soon as and as long as that is allowed.
   *
   * @throws {import("./errors.js").MinuetError} `video_not_allowed`, or what the device says
   */
  startCamera() {
    return this.#media.startCamera();
  }

  /** Turns our camera off; the permission stays. */
  stopCamera() {
    this.#media.stopCamera();
  }

  extend() {
    return this.#ask("call.extend");
  }

  /** @param {boolean} accept */
  replyExtend(accept) {
    return this.#ask("call.extend.reply", { accept });
  }

  /** Stay in touch. */
  connect() {
    return this.#ask("connect.request");
  }

  /** Do not stay in touch. */
  pass() {
    return this.#ask("connect.pass");
  }

  /** Never meet again; the other side only learns that the call is over. */
  block() {
    this.#media.stop();
    return this.#ask("safety.block");
  }

  /** @param {import("./protocol.js").ReportCategory} category @param {string} [note] */
  report(category, note = "") {
    return this.#ask("safety.report", { category, note });
  }

  /**
   * A message of the server about this call.
   *
   * @param {string} type
   * @param {any} data
   */
  receive(type, data) {
    switch (type) {
      case "call.state":
        this.#mirror(data);
        break;
      case "call.ice_servers":
        this.#media.setIceServers(data.ice_servers);
        break;
      case "call.offer":
      case "call.answer":
      case "call.candidates":
      case "call.negotiation_failed":
      case "call.reset":
        this.#media.receive(type, data);
        break;
      case "call.extend.requested":
        this.emit("extend.requested", { untilAt: data.until_at });
        break;
      case "video.requested":
        this.emit("video.requested", { untilAt: data.until_at });
        break;
      case "video.allowed":
        this.#mirrorVideo(data.video_allowed, true);
        this.emit("video.allowed", { ...this.videoAllowed });
        break;
      case "video.denied":
        this.emit("video.denied", { reason: data.reason });
        break;
      case "video.revoked":
        this.#mirrorVideo(data.video_allowed, false);
        this.emit("video.revoked", { ...this.videoAllowed });
        break;
      case "connect.prompt":
        this.emit("connect.prompt", { expiresAt: data.expires_at });
        break;
      case "connection.made":
        this.connected = true;
        this.emit("connection.made", { connectionId: data.connection_id, peer: data.peer });
        this.emit("change", undefined);
        break;
      case "call.ended":
        this.finish({ reason: data.reason, durationMs: data.duration_ms ?? 0, requeued: data.requeued === true });
        break;
      default:
        // A newer server: clients ignore what they do not know.
        break;
    }
  }

  /** The session was resumed, or began again: the server may want to hear again how media is. */
  reattached() {
    this.#media.report();
  }

  /** The call is over for this side. @param {CallEnd} end */
  finish(end) {
    if (this.end) return;
    this.end = end;
    this.state = "ended";
    this.endsAt = null;
    this.deadlineAt = null;
    this.#media.stop();
    this.emit("change", undefined);
    this.emit("ended", end);
  }

  /** @param {string} type @param {object} [data] */
  #ask(type, data = {}) {
    return this.#options.request(type, { call_id: this.id, ...data });
  }

  /** @param {CallOptions} options */
  #makeMedia({ media: devices, createPeerConnection, runtime, restored }) {
    const ask = (/** @type {string} */ type, /** @type {object | undefined} */ data) => this.#ask(type, data);
    const media = new CallMedia({ ask, seat: this.seat, devices, createPeerConnection, runtime, restored });
    const changed = () => this.emit("change", undefined);
    media.on("state", (state) => (this.emit("media", state), changed()));
    media.on("stream", (stream) => (this.emit("remotestream", stream), changed()));
    media.on("camera", changed);
    media.on("refused", (error) => this.emit("video.refused", error));
    media.on("failed", (error) => this.emit("mediaerror", error));
    return media;
  }

  /** @param {import("./protocol.js").CallView} view */
  #mirror(view) {
    if (view.version <= this.#version || this.end) return;
    this.#version = view.version;
    const before = this.state;
    const facts = factsOf(view, this.seat);
    if (facts.endsAt !== null && facts.endsAt !== this.endsAt) this.clockMs = facts.endsAt - view.server_now;
    Object.assign(this, facts);
    this.#media.transportPolicy = view.ice_transport_policy ?? this.#media.transportPolicy;
    if (hasMedia(view.state)) this.#media.begin();
    else if (view.state !== "proposed") this.#media.stop();
    this.#mirrorVideo(view.video_allowed, false);
    // Media may never have been gone on our side: the call goes on when both have said so.
    if (view.state === "reconnecting" && before !== "reconnecting") this.#media.report();
    this.emit("change", undefined);
  }

  /**
   * @param {import("./protocol.js").VideoAllowed} allowed
   * @param {boolean} fresh the server has just said yes to something
   */
  #mirrorVideo(allowed, fresh) {
    const { changed, wider } = this.#video.hear(allowed);
    if (!changed && !fresh) return;
    this.#media.allow(this.videoAllowed, fresh || wider);
    if (changed) this.emit("change", undefined);
  }

  /**
   * Takes something back: here first, then with the server, then by an offer without it.
   *
   * @param {Sides} left what is still allowed
   * @param {string} type
   * @param {object} [data]
   */
  #takeBack(left, type, data) {
    const confirmed = this.#video.takeBack(left);
    this.#media.allow(left, false);
    this.emit("change", undefined);
    const answer = this.#ask(type, data);
    this.#media.withdraw();
    answer.then(confirmed, confirmed);
    return answer;
  }
}
