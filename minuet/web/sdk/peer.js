/**
 * The media connection of one call: peer connections one after the other (a reset makes a new one), what is
 * reported of them to the server, and ICE restarts. What may be said and when is `negotiation.js`.
 */

import { MinuetError } from "./errors.js";
import { Emitter } from "./events.js";
import { Negotiation } from "./negotiation.js";
import { Timers } from "./timers.js";
import { VideoPermit } from "./video.js";

const LOST_AFTER_MS = 3_000;
const REPORT_RETRY_MS = 500;
const REPORT_TRIES = 8;
const RESTART_EVERY_MS = 4_000;
// After that many ICE restarts in vain, both begin again with new connections.
const RESTARTS_MAX = 2;
// Seat `a` restarts at once; `b` only if that did not help, so that their offers seldom cross.
const POLITE_DELAY_MS = 2_000;

/**
 * @typedef {(type: string, data: object) => Promise<any>} Request sends a message of this call
 * @typedef {"new"|"connected"|"disconnected"|"failed"} MediaState
 *
 * @typedef {object} PeerOptions
 * @property {boolean} offers
 * @property {Request} request
 * @property {(configuration: RTCConfiguration) => RTCPeerConnection} createPeerConnection
 * @property {MediaStreamTrack} audio
 * @property {RTCIceTransportPolicy} transportPolicy
 * @property {number} firstNumber negotiations of ours are numbered from here
 * @property {import("./runtime.js").Runtime} runtime
 *
 * @typedef {object} PeerEvents
 * @property {MediaState} media
 * @property {MediaStreamTrack} track a track of the peer
 * @property {RTCPeerConnection} connection a peer connection was made
 * @property {MinuetError} refused
 */

/** @extends {Emitter<PeerEvents>} */
export class Peer extends Emitter {
  #options;
  #runtime;
  #number;
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  /** @type {Negotiation | null} */
  #negotiation = null;
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {MediaState} */
  #media = "new";
  #closed = false;
  #builtAt = 0;
  /** ICE restarts since media was lost. */
  #restarts = 0;
  /** @type {Timers<"lost"|"restart"|"report">} */
  #timers;

  /** @param {PeerOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#runtime = options.runtime;
    this.#timers = new Timers(options.runtime);
    this.#number = options.firstNumber;
    this.permit = new VideoPermit();
  }

  /** The current peer connection, for statistics and tests. */
  get pc() {
    return this.#pc;
  }

  get media() {
    return this.#media;
  }

  /**
   * Makes the peer connection; seat `a` offers.
   *
   * @param {RTCIceServer[]} iceServers
   * @param {boolean} restored the peer still holds a connection to a page that is gone: ask that both begin again
   */
  start(iceServers, restored) {
    this.#iceServers = iceServers;
    if (this.#pc || this.#closed) return;
    this.#build();
    if (restored) this.fail();
    else void this.#negotiation?.start();
  }

  /**
   * A message about negotiation from the server.
   *
   * @param {string} type
   * @param {any} data
   */
  receive(type, data) {
    if (this.#closed) return;
    if (type === "call.reset") {
      this.reset();
      return;
    }
    const negotiation = this.#negotiation;
    if (type === "call.offer") void negotiation?.takeOffer(data);
    else if (type === "call.answer") void negotiation?.takeAnswer(data);
    else if (type === "call.candidates") void negotiation?.takeCandidates(data);
    else if (type === "call.negotiation_failed") void negotiation?.takeFailure(data);
  }

  /** Begins again with a new peer connection; what was negotiated is void, what is allowed is not. */
  reset() {
    if (this.#closed) return;
    this.#teardown();
    this.#build();
    void this.#negotiation?.start();
  }

  /** The server sent fresh ones: they serve the next ICE restart, and the next connection. @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.#iceServers = iceServers;
  }

  /** A wish or a permission about video has changed. */
  review() {
    void this.#negotiation?.review();
  }

  /** We took a permission back: what it covered stops now, and we say so. */
  withdraw() {
    void this.#negotiation?.withdraw();
  }

  /** The peer took a permission back: what it covered stops now. */
  silence() {
    this.#negotiation?.silence();
  }

  /** Says again what state media is in; repeating it is harmless. */
  report() {
    if (this.#media === "connected" || this.#media === "disconnected" || this.#media === "failed") this.#tell(this.#media);
  }

  /** Nothing here can help any more: asks the server to let both sides begin again (`call.reset`). */
  fail() {
    this.#setMedia("failed");
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#teardown();
    this.removeAll();
  }

  #build() {
    const { createPeerConnection, audio, offers, transportPolicy } = this.#options;
    const pc = createPeerConnection({ iceServers: this.#iceServers, iceTransportPolicy: transportPolicy, bundlePolicy: "max-bundle" });
    this.#pc = pc;
    this.#media = "new";
    this.#builtAt = this.#runtime.now();
    pc.addTrack(audio);
    pc.addEventListener("track", ({ track }) => {
      if (pc === this.#pc) this.emit("track", track);
    });
    pc.addEventListener("connectionstatechange", () => {
      if (pc === this.#pc) this.#connectionChanged();
    });
    const negotiation = new Negotiation({
      pc,
      offers,
      wire: this.#wire(),
      nextNumber: () => this.#number++,
      permit: this.permit,
      runtime: this.#runtime,
    });
    this.#negotiation = negotiation;
    negotiation.on("settled", () => this.#connectionChanged());
    negotiation.on("refused", (error) => this.emit("refused", error));
    negotiation.on("stuck", () => this.fail());
    this.emit("connection", pc);
  }

  /** @returns {import("./negotiation.js").Wire} */
  #wire() {
    const { request } = this.#options;
    return {
      offer: (negotiation, sdp) => request("call.offer", { negotiation, sdp }),
      answer: (negotiation, sdp) => request("call.answer", { negotiation, of: "peer", sdp }),
      candidates: (batch) => {
        // A refused batch is lost for this generation; an ICE restart gathers anew.
        request("call.candidates", batch).catch(() => {});
      },
    };
  }

  #connectionChanged() {
    const state = this.#pc?.connectionState;
    // "connected" also waits for the descriptions: before the relayed answer it would be refused.
    if (state === "connected" && this.#negotiation?.settled) {
      this.#timers.clear("lost");
      this.#timers.clear("restart");
      this.#setMedia("connected");
    } else if (state === "disconnected" && !this.#timers.has("lost")) {
      // Often a matter of a moment: a phone that changes cells, a busy radio.
      this.#timers.set("lost", LOST_AFTER_MS, () => this.#lost());
    } else if (state === "failed") {
      this.#lost();
    }
  }

  #lost() {
    this.#timers.clear("lost");
    if (this.#media === "connected") this.#restarts = 0;
    this.#setMedia("disconnected");
    if (this.#timers.has("restart")) return;
    if (this.#options.offers) void this.#restart();
    else this.#timers.set("restart", POLITE_DELAY_MS, () => void this.#restart());
  }

  async #restart() {
    const negotiation = this.#negotiation;
    if (this.#closed || !negotiation?.settled) return;
    this.#restarts += 1;
    if (this.#restarts > RESTARTS_MAX) {
      this.fail();
      return;
    }
    // The next try, if this one brings nothing; the server ends the wait.
    this.#timers.set("restart", RESTART_EVERY_MS, () => void this.#restart());
    try {
      const { ice_servers } = await this.#options.request("call.ice_servers", {});
      if (negotiation !== this.#negotiation || !this.#pc) return;
      this.#iceServers = ice_servers;
      this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers: ice_servers });
    } catch {
      // The servers we have may still do.
    }
    if (negotiation === this.#negotiation && this.#media !== "connected") void negotiation.restart();
  }

  /** @param {MediaState} media */
  #setMedia(media) {
    if (media === this.#media) return;
    this.#media = media;
    this.#tell(media);
    this.emit("media", media);
  }

  /** @param {MediaState} state @param {number} [triesLeft] */
  #tell(state, triesLeft = REPORT_TRIES) {
    this.#timers.clear("report");
    const report = state === "connected" ? { state, stats: { setup_ms: this.#runtime.now() - this.#builtAt } } : { state };
    this.#options.request("call.media", report).catch((error) => {
      // `bad_state`: our answer has not been relayed yet.
      const again = error instanceof MinuetError && (error.retryable || error.code === "bad_state");
      if (!again || this.#closed || state !== this.#media || triesLeft <= 1) return;
      this.#timers.set("report", REPORT_RETRY_MS, () => this.#tell(state, triesLeft - 1));
    });
  }

  #teardown() {
    this.#timers.clearAll();
    this.#negotiation?.close();
    this.#negotiation = null;
    this.#pc?.close();
    this.#pc = null;
  }
}
