/**
 * One call as this side sees it: the server's view mirrored, the media that belongs to it, and what may be asked.
 * The server decides everything; here nothing is assumed that it has not said, with one exception: what is taken
 * back (video, the call itself) stops here at once, whatever the network does.
 */

import { MinuetError } from "./errors.js";
import { Emitter } from "./events.js";
import { Peer } from "./peer.js";

/** States in which media flows, or is about to. */
const MEDIA_STATES = new Set(["connecting", "live", "reconnecting"]);

/**
 * @typedef {object} CallOptions
 * @property {(type: string, data: object) => Promise<any>} request
 * @property {import("./clock.js").ServerClock} clock
 * @property {import("./media.js").LocalMedia} media
 * @property {(configuration: RTCConfiguration) => RTCPeerConnection} createPeerConnection
 * @property {import("./runtime.js").Runtime} runtime
 * @property {boolean} restored the call was running before this page was: its media has to begin again
 *
 * @typedef {{reason: import("./protocol.js").EndReason | "unknown", durationMs: number, requeued: boolean}} CallEnd
 *
 * @typedef {{
 *   "change": undefined, // anything an app may show has changed; read it from the call
 *   "media": import("./peer.js").MediaState,
 *   "remotestream": MediaStream, // the peer's tracks changed
 *   "video.requested": {untilAt: number}, // the guest asks for video (in `mutual`: the other)
 *   "video.allowed": {self: boolean, peer: boolean},
 *   "video.denied": {reason: string},
 *   "video.revoked": {self: boolean, peer: boolean},
 *   "video.refused": MinuetError, // the server refused to relay video
 *   "extend.requested": {untilAt: number},
 *   "connect.prompt": {expiresAt: number},
 *   "connection.made": {connectionId: string, peer: any},
 *   "mediaerror": MinuetError, // microphone gone, so no media can be set up
 *   "ended": CallEnd,
 * }} CallEvents
 */

/** @extends {Emitter<CallEvents>} */
export class Call extends Emitter {
  #options;
  /** @type {Peer | null} */
  #peerLink = null;
  #starting = false;
  /** Media may begin: at once in a call we saw begin, at `rejoin` in one that was there before this page. */
  #joined;
  /** @type {RTCIceServer[] | null} */
  #iceServers = null;
  /** @type {RTCIceTransportPolicy} */
  #transportPolicy = "all";
  #muted = false;
  #version = -1;
  /** @type {Array<{type: string, data: any}>} messages for the peer link that came before it */
  #early = [];

  /**
   * @param {import("./protocol.js").MatchFound | import("./protocol.js").CallView} found
   * @param {CallOptions} options
   */
  constructor(found, options) {
    super();
    this.#options = options;
    this.#joined = !options.restored;
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
    /** How long the clock had to run when `endsAt` was last set. @type {number} */
    this.clockMs = 0;
    this.peerAttached = true;
    this.videoAllowed = { self: false, peer: false };
    /** @type {{video: {mine: boolean, untilAt: number} | null, extend: {mine: boolean, untilAt: number} | null}} */
    this.pending = { video: null, extend: null };
    this.connected = false;
    /** How often the clock may still be extended; null where the server does not say. @type {number | null} */
    this.extensionsLeft = null;
    /** @type {CallEnd | null} */
    this.end = null;
    /** What the peer sends: audio, and video while it is allowed. One stream for the whole call. */
    this.remoteStream = typeof MediaStream === "function" ? new MediaStream() : null;
    if ("accept_by_at" in found) {
      this.deadlineAt = found.accept_by_at;
      this.#transportPolicy = found.ice_transport_policy ?? "all";
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

  get muted() {
    return this.#muted;
  }

  /** True while our camera is open for this call. */
  get cameraOn() {
    return this.#options.media.camera !== null;
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
    return this.#peerLink?.media ?? "new";
  }

  /** The current peer connection, for statistics. */
  get pc() {
    return this.#peerLink?.pc ?? null;
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
   * @throws {MinuetError} what the device says
   */
  async rejoin() {
    await this.#options.media.openMicrophone();
    this.#joined = true;
    await this.#startMedia();
  }

  /** Ends the call. Media stops here at once. */
  hangup() {
    this.#stopMedia();
    return this.#ask("call.hangup");
  }

  /** Voice on or off; nothing is negotiated. @param {boolean} muted */
  mute(muted) {
    this.#muted = muted;
    const microphone = this.#options.media.microphone;
    if (microphone) microphone.enabled = !muted;
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
    // After `both` this is a revocation of our own sending, so it binds here first.
    const narrows = direction === "receive" && this.videoAllowed.self;
    if (narrows) this.#disallow({ self: false, peer: this.videoAllowed.peer });
    const answer = this.#ask("video.approve", { direction });
    if (narrows) this.#peerLink?.withdraw();
    return answer;
  }

  denyVideo() {
    return this.#ask("video.deny");
  }

  /** Takes video back. It stops here at once, before the server knows. */
  revokeVideo() {
    this.#disallow({ self: false, peer: false });
    const answer = this.#ask("video.revoke");
    this.#peerLink?.withdraw();
    return answer;
  }

  /**
   * Opens the camera and sends it, as soon as and as long as that is allowed.
   *
   * @throws {MinuetError} `video_not_allowed`, or what the device says
   */
  async startCamera() {
    if (!this.videoAllowed.self) throw new MinuetError("video_not_allowed", "this side may not send video now");
    const camera = await this.#options.media.openCamera();
    // It may have been taken back while the user was asked for the camera.
    if (!this.videoAllowed.self || !MEDIA_STATES.has(this.state)) {
      this.stopCamera();
      throw new MinuetError("video_not_allowed", "video was taken back meanwhile");
    }
    this.#peerLink?.permit.wish(camera);
    this.#peerLink?.review();
    this.emit("change", undefined);
    return camera;
  }

  /** Turns our camera off; the permission stays. */
  stopCamera() {
    this.#options.media.closeCamera();
    this.#peerLink?.permit.wish(null);
    this.#peerLink?.silence();
    this.emit("change", undefined);
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
    this.#stopMedia();
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
        this.#iceServers = data.ice_servers;
        void this.#startMedia();
        break;
      case "call.offer":
      case "call.answer":
      case "call.candidates":
      case "call.negotiation_failed":
      case "call.reset":
        if (this.#peerLink) this.#peerLink.receive(type, data);
        else this.#early.push({ type, data });
        break;
      case "call.extend.requested":
        this.emit("extend.requested", { untilAt: data.until_at });
        break;
      case "video.requested":
        this.emit("video.requested", { untilAt: data.until_at });
        break;
      case "video.allowed":
        this.#allowVideo(data.video_allowed);
        this.emit("video.allowed", { ...this.videoAllowed });
        break;
      case "video.denied":
        this.emit("video.denied", { reason: data.reason });
        break;
      case "video.revoked":
        this.#mirrorVideo(data.video_allowed);
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
    this.#peerLink?.report();
  }

  /** The call is over for this side. @param {CallEnd} end */
  finish(end) {
    if (this.end) return;
    this.end = end;
    this.state = "ended";
    this.endsAt = null;
    this.deadlineAt = null;
    this.#stopMedia();
    this.emit("change", undefined);
    this.emit("ended", end);
  }

  /** @param {string} type @param {object} [data] */
  #ask(type, data = {}) {
    return this.#options.request(type, { call_id: this.id, ...data });
  }

  /** @param {import("./protocol.js").CallView} view */
  #mirror(view) {
    if (view.version <= this.#version || this.end) return;
    this.#version = view.version;
    const before = this.state;
    this.state = view.state;
    this.role = view.role;
    this.peer = view.peer;
    this.peerAttached = view.peer_attached !== false;
    this.connected = view.connected === true;
    this.extensionsLeft = view.extensions_left ?? null;
    this.#transportPolicy = view.ice_transport_policy ?? this.#transportPolicy;
    const endsAt = view.ends_at ?? null;
    if (endsAt !== this.endsAt && endsAt !== null) this.clockMs = endsAt - view.server_now;
    this.endsAt = endsAt;
    this.deadlineAt = view.deadline_at ?? null;
    this.pending = { video: this.#pendingOf(view.pending?.video), extend: this.#pendingOf(view.pending?.extend) };
    this.#mirrorVideo(view.video_allowed);
    if (MEDIA_STATES.has(view.state)) {
      void this.#startMedia();
      // Media may never have been gone on our side: the call goes on when both have said so.
      if (view.state === "reconnecting" && before !== "reconnecting") this.#peerLink?.report();
    } else if (view.state !== "proposed") {
      this.#stopMedia();
    }
    this.emit("change", undefined);
  }

  /** @param {import("./protocol.js").PendingAsk | null | undefined} ask */
  #pendingOf(ask) {
    return ask ? { mine: ask.by === this.seat, untilAt: ask.until_at } : null;
  }

  /** @param {import("./protocol.js").VideoAllowed} allowed */
  #sides(allowed) {
    const other = this.seat === "a" ? "b" : "a";
    return { self: allowed[this.seat], peer: allowed[other] };
  }

  /** A fresh permission. @param {import("./protocol.js").VideoAllowed} allowed */
  #allowVideo(allowed) {
    this.#peerLink?.permit.unblock();
    this.#mirrorVideo(allowed);
  }

  /** @param {import("./protocol.js").VideoAllowed} allowed */
  #mirrorVideo(allowed) {
    const next = this.#sides(allowed);
    const { self, peer } = this.videoAllowed;
    if (next.self === self && next.peer === peer) return;
    const wider = (!self && next.self) || (!peer && next.peer);
    this.videoAllowed = next;
    const link = this.#peerLink;
    link?.permit.allow(next.self, next.peer);
    if (wider) link?.permit.unblock();
    if (!next.self) this.stopCamera();
    link?.silence();
    link?.review();
    this.emit("change", undefined);
  }

  /** Takes back, here and now, what the server is about to be told. @param {{self: boolean, peer: boolean}} allowed */
  #disallow(allowed) {
    this.videoAllowed = allowed;
    this.#peerLink?.permit.allow(allowed.self, allowed.peer);
    if (!allowed.self) this.stopCamera();
    this.#peerLink?.silence();
  }

  async #startMedia() {
    if (this.#peerLink || this.#starting || !this.#joined || !MEDIA_STATES.has(this.state)) return;
    // The servers are pushed on entering `connecting`; a restored call has to ask.
    if (!this.#iceServers && !this.#options.restored) return;
    this.#starting = true;
    try {
      const audio = await this.#options.media.openMicrophone();
      const iceServers = this.#iceServers ?? (await this.#ask("call.ice_servers")).ice_servers;
      if (!this.end && MEDIA_STATES.has(this.state)) this.#makeLink(audio, iceServers);
    } catch (error) {
      this.emit("mediaerror", error instanceof MinuetError ? error : new MinuetError("internal", String(error)));
    } finally {
      this.#starting = false;
    }
  }

  /** @param {MediaStreamTrack} audio @param {RTCIceServer[]} iceServers */
  #makeLink(audio, iceServers) {
    const { runtime, createPeerConnection, restored } = this.#options;
    audio.enabled = !this.#muted;
    const link = new Peer({
      offers: this.seat === "a",
      request: (type, data) => this.#ask(type, data),
      createPeerConnection,
      audio,
      transportPolicy: this.#transportPolicy,
      // Numbers rise over the call's whole life, also over a page that was reloaded and forgot its own.
      firstNumber: restored ? Math.floor(runtime.now() / 1_000) : 1,
      runtime,
    });
    this.#peerLink = link;
    link.permit.allow(this.videoAllowed.self, this.videoAllowed.peer);
    link.on("track", (track) => this.#addRemote(track));
    link.on("media", (media) => (this.emit("media", media), this.emit("change", undefined)));
    link.on("refused", (error) => this.emit("video.refused", error));
    link.on("connection", () => this.#clearRemote());
    link.start(iceServers, restored);
    for (const { type, data } of this.#early.splice(0)) link.receive(type, data);
  }

  /** @param {MediaStreamTrack} track */
  #addRemote(track) {
    const stream = this.remoteStream;
    if (!stream) return;
    for (const old of stream.getTracks()) if (old.kind === track.kind && old !== track) stream.removeTrack(old);
    stream.addTrack(track);
    this.emit("remotestream", stream);
    this.emit("change", undefined);
  }

  #clearRemote() {
    for (const track of this.remoteStream?.getTracks() ?? []) this.remoteStream?.removeTrack(track);
  }

  #stopMedia() {
    this.#options.media.closeCamera();
    this.#peerLink?.close();
    this.#peerLink = null;
    this.#early = [];
  }
}
