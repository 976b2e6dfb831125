/**
 * What is heard and seen in one call: this side's microphone and camera, the peer's tracks, and the peer link between
 * them. It opens nothing before it may, sends nothing that is not allowed, and stops at once when told.
 */

import { MinuetError } from "./errors.js";
import { Emitter } from "./events.js";
import { Peer } from "./peer.js";

/** More cannot come before the link is there, unless something is wrong: then a reset will put it right. */
const EARLY_MAX = 64;

/**
 * @typedef {object} CallMediaOptions
 * @property {(type: string, data?: object) => Promise<any>} ask sends a message of this call
 * @property {import("./protocol.js").Seat} seat
 * @property {import("./media.js").LocalMedia} devices
 * @property {(configuration: RTCConfiguration) => RTCPeerConnection} createPeerConnection
 * @property {import("./runtime.js").Runtime} runtime
 * @property {boolean} restored the call was running before this page was: its media has to begin again
 *
 * @typedef {{self: boolean, peer: boolean}} Sides
 *
 * @typedef {object} CallMediaEvents
 * @property {import("./peer.js").MediaState} state
 * @property {MediaStream} stream the peer's tracks changed
 * @property {undefined} camera ours went on or off
 * @property {MinuetError} refused the server refused to relay a description
 * @property {MinuetError} failed the microphone could not be opened
 */

/** @extends {Emitter<CallMediaEvents>} */
export class CallMedia extends Emitter {
  #options;
  /** @type {Peer | null} */
  #link = null;
  /** The call is in a state in which media flows. */
  #wanted = false;
  #starting = false;
  /** Media may begin: at once in a call we saw begin, at `rejoin` in one that was there before this page. */
  #joined;
  #muted = false;
  /** @type {Sides} */
  #allowed = { self: false, peer: false };
  /** @type {RTCIceServer[] | null} */
  #iceServers = null;
  /** Messages for the link that came before it. @type {Array<{type: string, data: any}>} */
  #early = [];

  /** @param {CallMediaOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#joined = !options.restored;
    /** @type {RTCIceTransportPolicy} */
    this.transportPolicy = "all";
    /** What the peer sends: audio, and video while it is allowed. One stream for the whole call. */
    this.remoteStream = typeof MediaStream === "function" ? new MediaStream() : null;
  }

  get muted() {
    return this.#muted;
  }

  get cameraOn() {
    return this.#options.devices.camera !== null;
  }

  /** @type {import("./peer.js").MediaState} */
  get state() {
    return this.#link?.media ?? "new";
  }

  get pc() {
    return this.#link?.pc ?? null;
  }

  /** The call has come to where media flows. */
  begin() {
    this.#wanted = true;
    void this.#start();
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.#iceServers = iceServers;
    this.#link?.setIceServers(iceServers);
    void this.#start();
  }

  /** Takes part in a restored call. @throws {MinuetError} what the device says */
  async rejoin() {
    await this.#options.devices.openMicrophone();
    this.#joined = true;
    await this.#start();
  }

  /** A message about negotiation. @param {string} type @param {any} data */
  receive(type, data) {
    if (this.#link) this.#link.receive(type, data);
    else if (this.#early.length < EARLY_MAX) this.#early.push({ type, data });
  }

  /** Says again what state media is in. */
  report() {
    this.#link?.report();
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.#muted = muted;
    const { microphone } = this.#options.devices;
    if (microphone) microphone.enabled = !muted;
  }

  /**
   * Who may send video from now on. What is no longer allowed stops before this returns.
   *
   * @param {Sides} allowed
   * @param {boolean} fresh the server has just allowed something: what it refused before may be tried again
   */
  allow(allowed, fresh) {
    this.#allowed = allowed;
    if (!allowed.self && this.cameraOn) this.stopCamera();
    const link = this.#link;
    if (!link) return;
    if (fresh) link.permit.unblock();
    link.permit.allow(allowed.self, allowed.peer);
    link.silence();
    link.review();
  }

  /** Says by an offer that what is no longer allowed is off. */
  withdraw() {
    this.#link?.withdraw();
  }

  /** @throws {MinuetError} `video_not_allowed`, or what the device says */
  async startCamera() {
    if (!this.#allowed.self) throw new MinuetError("video_not_allowed", "this side may not send video now");
    const camera = await this.#options.devices.openCamera();
    // It may have been taken back while the user was asked for the camera.
    if (!this.#allowed.self || !this.#wanted) {
      this.stopCamera();
      throw new MinuetError("video_not_allowed", "video was taken back meanwhile");
    }
    this.#link?.permit.wish(camera);
    this.#link?.review();
    this.emit("camera", undefined);
    return camera;
  }

  stopCamera() {
    this.#options.devices.closeCamera();
    this.#link?.permit.wish(null);
    this.#link?.silence();
    this.emit("camera", undefined);
  }

  /** Media is over, at least for now. The microphone stays open: it is the app's. */
  stop() {
    this.#wanted = false;
    this.#options.devices.closeCamera();
    this.#link?.close();
    this.#link = null;
    this.#early = [];
  }

  async #start() {
    if (this.#link || this.#starting || !this.#wanted || !this.#joined) return;
    // The servers are pushed on entering `connecting`; a restored call has to ask.
    if (!this.#iceServers && !this.#options.restored) return;
    this.#starting = true;
    try {
      const microphone = await this.#options.devices.openMicrophone();
      const iceServers = this.#iceServers ?? (await this.#options.ask("call.ice_servers")).ice_servers;
      if (this.#wanted) this.#makeLink(microphone, iceServers);
    } catch (error) {
      this.emit("failed", error instanceof MinuetError ? error : new MinuetError("internal", String(error), { cause: error }));
    } finally {
      this.#starting = false;
    }
  }

  /** @param {MediaStreamTrack} microphone @param {RTCIceServer[]} iceServers */
  #makeLink(microphone, iceServers) {
    const { ask, seat, runtime, createPeerConnection, restored } = this.#options;
    microphone.enabled = !this.#muted;
    const link = new Peer({
      offers: seat === "a",
      request: ask,
      createPeerConnection,
      audio: microphone,
      transportPolicy: this.transportPolicy,
      // Numbers rise over the call's whole life, also over a page that was reloaded and forgot its own.
      firstNumber: restored ? Math.floor(runtime.now() / 1_000) : 1,
      runtime,
    });
    this.#link = link;
    link.permit.allow(this.#allowed.self, this.#allowed.peer);
    link.on("track", (track) => this.#addRemote(track));
    link.on("media", (state) => this.emit("state", state));
    link.on("refused", (error) => this.emit("refused", error));
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
    this.emit("stream", stream);
  }

  #clearRemote() {
    for (const track of this.remoteStream?.getTracks() ?? []) this.remoteStream?.removeTrack(track);
  }
}
