/**
 * Perfect negotiation over one RTCPeerConnection, with a server between that may refuse. It decides who
 * offers, who yields, and how both stay able to negotiate after a refusal; it knows neither sockets nor calls.
 *
 * The rules, beyond the usual ones (seat `b` is polite and yields):
 * - An offer is sent as `createOffer` gave it, and applied only when the server has accepted it: a refused one needs no
 *   rollback, which costs Chromium its transports where the connection has only answered so far. Video is not tried
 *   again before it is allowed anew.
 * - An answer is sent as `createAnswer` gave it, and applied only when the server has accepted it: an answerer
 *   that is stable can no longer roll back, and would send what was refused.
 * - Where an offer has to be rolled back all the same, another one follows that brings the transports back.
 * - Numbers name negotiations: each side counts its own offers, an answer names the offer it answers.
 * - Our candidates wait until their description has been accepted.
 *
 * Steps run one after the other; what the peer sends meanwhile waits its turn. So an offer of the peer that comes while
 * ours is being judged is looked at when the verdict is known.
 */

import { CandidateInbox, CandidateOutbox, ufragsOf } from "./candidates.js";
import { MinuetError } from "./errors.js";
import { Emitter } from "./events.js";

const RETRY_MS = 500;
// When video is allowed both ways, both cameras start at the same moment. The polite side gives the other's offer
// this long to arrive and answers it with its own picture in it: one negotiation, and no rollback.
const POLITE_WAIT_MS = 400;
const RETRIES_MAX = 3;
const VIDEO_REFUSALS = new Set(["video_not_allowed", "media_kind_forbidden"]);
const UNKNOWN_OUTCOMES = new Set(["timeout", "disconnected"]);
// After these there is nothing left to negotiate.
const FINAL_REFUSALS = new Set(["call_ended", "not_a_participant", "sdp_invalid", "payload_too_large", "closed"]);

/**
 * @typedef {object} Wire what a negotiation says; each resolves when the server has accepted it
 * @property {(negotiation: number, sdp: string) => Promise<unknown>} offer
 * @property {(negotiation: number, sdp: string) => Promise<unknown>} answer
 * @property {(batch: import("./candidates.js").Batch) => void} candidates
 *
 * @typedef {object} NegotiationOptions
 * @property {RTCPeerConnection} pc
 * @property {boolean} offers true for seat `a`: it makes the first offer, and does not yield
 * @property {Wire} wire
 * @property {() => number} nextNumber rising over the whole call
 * @property {import("./video.js").VideoPermit} permit
 * @property {import("./runtime.js").Runtime} runtime
 *
 * @typedef {object} NegotiationEvents
 * @property {undefined} settled a description of each side is in use
 * @property {MinuetError} refused the server refused a description of ours
 * @property {unknown} stuck a description could not be applied: this connection cannot recover by itself
 */

/** @extends {Emitter<NegotiationEvents>} */
export class Negotiation extends Emitter {
  #pc;
  #offers;
  #wire;
  #nextNumber;
  #permit;
  #runtime;
  #outbox;
  #inbox;
  /** @type {Promise<void>} */
  #chain = Promise.resolve();
  #closed = false;
  /** The number of our unanswered offer. @type {number | null} */
  #open = null;
  /** The peer's description in use. @type {{key: import("./candidates.js").Key, ufrags: Set<string>} | null} */
  #remote = null;
  #settled = false;
  #restarting = false;
  #withdrawing = false;
  /** An offer of ours was rolled back, and nothing has been negotiated since. */
  #rolledBack = false;
  /** The permit's revision that our last completed or refused offer spoke for. */
  #offeredRevision = -1;
  #retries = 0;
  /** @type {unknown} */
  #timer = null;

  /** @param {NegotiationOptions} options */
  constructor({ pc, offers, wire, nextNumber, permit, runtime }) {
    super();
    this.#pc = pc;
    this.#offers = offers;
    this.#wire = wire;
    this.#nextNumber = nextNumber;
    this.#permit = permit;
    this.#runtime = runtime;
    this.#outbox = new CandidateOutbox((batch) => wire.candidates(batch), runtime);
    this.#inbox = new CandidateInbox((candidate) => this.#addCandidate(candidate));
    pc.addEventListener("icecandidate", (event) => this.#outbox.add(event.candidate));
  }

  /** True once both sides have a description of the other in use. */
  get settled() {
    return this.#settled;
  }

  /** The first offer, if it is ours to make. */
  start() {
    return this.#enqueue(() => this.#offerIfNeeded());
  }

  /** Looks again whether an offer is needed: a wish or a permission has changed. */
  review() {
    if (this.#offers || !this.#permit.receiving) return this.#enqueue(() => this.#offerIfNeeded());
    this.#offerAfter(POLITE_WAIT_MS);
    return this.#enqueue(() => this.#showWhatIsNegotiated());
  }

  /** Offers at once without what is no longer allowed. */
  withdraw() {
    this.#withdrawing = true;
    this.silence();
    return this.#enqueue(() => this.#offerIfNeeded());
  }

  /** Stops sending and receiving video at once, before any negotiation, as far as it is not allowed. */
  silence() {
    const transceiver = this.#videoTransceiver();
    if (!transceiver || this.#closed) return;
    if (!this.#permit.sending) void transceiver.sender.replaceTrack(null).catch(() => {});
    if (transceiver.direction !== this.#permit.direction) transceiver.direction = this.#permit.direction;
  }

  /** Fresh ICE credentials, by an offer of ours. */
  restart() {
    this.#restarting = true;
    this.#pc.restartIce();
    return this.#enqueue(() => this.#offerIfNeeded());
  }

  /** @param {{negotiation: number, sdp: string}} offer */
  takeOffer(offer) {
    return this.#enqueue(() => this.#answerTo(offer));
  }

  /** @param {{negotiation: number, sdp: string}} answer */
  takeAnswer(answer) {
    return this.#enqueue(() => this.#applyAnswer(answer));
  }

  /** @param {import("./candidates.js").Batch} batch */
  takeCandidates(batch) {
    return this.#enqueue(() => this.#inbox.take(batch, this.#remote));
  }

  /**
   * The server closed a negotiation: both roll back.
   *
   * @param {{negotiation: number, of: import("./protocol.js").Of, code: string}} failure
   */
  takeFailure(failure) {
    return this.#enqueue(() => this.#failed(failure));
  }

  close() {
    this.#closed = true;
    this.#runtime.clearTimeout(this.#timer);
    this.#outbox.close();
    this.#inbox.clear();
    this.removeAll();
  }

  /** @param {() => Promise<void>} step @returns {Promise<void>} resolves when the step is done */
  #enqueue(step) {
    this.#chain = this.#chain.then(async () => {
      if (this.#closed) return;
      try {
        await step();
      } catch (error) {
        // A connection that was closed under a step has nobody left to tell.
        if (!this.#closed) this.emit("stuck", error);
      }
    });
    return this.#chain;
  }

  async #offerIfNeeded() {
    await this.#showWhatIsNegotiated();
    if (this.#pc.signalingState !== "stable" || !this.#needsOffer()) return;
    const revision = this.#permit.revision;
    await this.#prepareVideo();
    const offer = await this.#pc.createOffer();
    if (this.#closed) return;
    const number = this.#nextNumber();
    const sdp = offer.sdp ?? "";
    this.#outbox.propose({ negotiation: number, of: "self" }, sdp);
    try {
      await this.#wire.offer(number, sdp);
    } catch (error) {
      if (!this.#closed) await this.#offerRefused(asError(error));
      return;
    }
    if (this.#closed) return;
    this.#open = number;
    this.#offeredRevision = revision;
    this.#outbox.accept();
    await this.#pc.setLocalDescription(offer);
  }

  #needsOffer() {
    if (this.#restarting || this.#rolledBack) return true;
    if (!this.#settled) return this.#offers;
    const current = this.#videoTransceiver()?.currentDirection ?? "inactive";
    const wanted = this.#permit.direction;
    if (this.#withdrawing) {
      if (exceeds(current, wanted)) return true;
      this.#withdrawing = false;
    }
    // The peer may have declined what we offered: without a change on our side, asking again is noise.
    return sends(wanted) && !sends(current) && this.#permit.revision !== this.#offeredRevision;
  }

  /** A camera that comes back into a section that still sends needs no negotiation. */
  async #showWhatIsNegotiated() {
    if (this.#permit.sending && sends(this.#videoTransceiver()?.currentDirection ?? "inactive")) await this.#matchVideo();
  }

  /** Before an offer. A call that has never had video has no video section at all. */
  async #prepareVideo() {
    // addTrack, not addTransceiver: only what addTrack made is joined to the video section of a peer's offer
    // after a rollback, and there must never be two.
    if (this.#permit.sending && !this.#videoTransceiver()) this.#pc.addTrack(this.#permit.sending);
    await this.#matchVideo();
  }

  /** Before every description: video direction = wish and allowed. */
  async #matchVideo() {
    const track = this.#permit.sending;
    const transceiver = this.#videoTransceiver();
    if (!transceiver) return;
    if (transceiver.sender.track !== track) await transceiver.sender.replaceTrack(track);
    if (transceiver.direction !== this.#permit.direction) transceiver.direction = this.#permit.direction;
  }

  /** @param {MinuetError} error */
  async #offerRefused(error) {
    await this.#rollBackOwn();
    if (VIDEO_REFUSALS.has(error.code)) {
      this.#permit.refuse();
      this.silence();
    }
    this.emit("refused", error);
    if (!FINAL_REFUSALS.has(error.code)) this.#retryLater(error.retryAfterMs);
  }

  /** @param {{negotiation: number, sdp: string}} offer */
  async #answerTo({ negotiation, sdp }) {
    const pc = this.#pc;
    if (pc.signalingState === "have-local-offer") {
      // Ours has been accepted, so the peer has it too, or will in a moment, and yields to it.
      if (this.#offers) return;
      await this.#rollBackOwn();
    }
    const before = this.#remote;
    await pc.setRemoteDescription({ type: "offer", sdp });
    this.#remote = { key: { negotiation, of: "peer" }, ufrags: ufragsOf(sdp) };
    await this.#inbox.release(this.#remote.key);
    await this.#matchVideo();
    const answer = await pc.createAnswer();
    if (this.#closed) return;
    try {
      await this.#wire.answer(negotiation, answer.sdp ?? "");
    } catch (error) {
      if (!this.#closed) await this.#answerRefused(asError(error), before);
      return;
    }
    if (this.#closed) return;
    this.#outbox.propose({ negotiation, of: "peer" }, answer.sdp ?? "");
    this.#outbox.accept();
    await pc.setLocalDescription(answer);
    // A peer that came with new credentials has restarted ICE for us too.
    if (before && ![...this.#remote.ufrags].some((ufrag) => before.ufrags.has(ufrag))) this.#restarting = false;
    await this.#nowSettled();
  }

  /** @param {MinuetError} error @param {{key: import("./candidates.js").Key, ufrags: Set<string>} | null} before */
  async #answerRefused(error, before) {
    await this.#rollBackTheirs(before);
    // Not refused, but unknown: the peer may have applied it by now, and we no longer can.
    if (UNKNOWN_OUTCOMES.has(error.code)) throw error;
    if (VIDEO_REFUSALS.has(error.code)) {
      this.#permit.refuse();
      this.silence();
    }
    this.emit("refused", error);
  }

  /** @param {{negotiation: number, sdp: string}} answer */
  async #applyAnswer({ negotiation, sdp }) {
    if (negotiation !== this.#open || this.#pc.signalingState !== "have-local-offer") return;
    await this.#pc.setRemoteDescription({ type: "answer", sdp });
    this.#open = null;
    this.#restarting = false;
    this.#remote = { key: { negotiation, of: "self" }, ufrags: ufragsOf(sdp) };
    await this.#inbox.release(this.#remote.key);
    await this.#nowSettled();
  }

  async #nowSettled() {
    this.#settled = true;
    this.#rolledBack = false;
    this.#retries = 0;
    this.emit("settled", undefined);
    await this.#offerIfNeeded();
  }

  /** @param {{negotiation: number, of: import("./protocol.js").Of, code: string}} failure */
  async #failed({ negotiation, of, code }) {
    if (VIDEO_REFUSALS.has(code)) this.#permit.refuse();
    if (of === "self" && negotiation === this.#open) {
      await this.#rollBackOwn();
      this.silence();
      this.#retryLater();
    } else if (of === "peer" && this.#pc.signalingState === "have-remote-offer") {
      await this.#rollBackTheirs(null);
      this.silence();
    }
  }

  async #rollBackOwn() {
    this.#open = null;
    this.#offeredRevision = -1;
    this.#outbox.discard();
    if (this.#pc.signalingState !== "have-local-offer") return;
    await this.#pc.setLocalDescription({ type: "rollback" });
    this.#rolledBack = this.#settled;
  }

  /** @param {{key: import("./candidates.js").Key, ufrags: Set<string>} | null} before */
  async #rollBackTheirs(before) {
    this.#remote = before;
    if (this.#pc.signalingState === "have-remote-offer") await this.#pc.setRemoteDescription({ type: "rollback" });
  }

  /** A few more tries, further and further apart; each looks first whether an offer is still needed. @param {number} [atLeastMs] */
  #retryLater(atLeastMs = 0) {
    if (this.#retries >= RETRIES_MAX) return;
    const waitMs = Math.max(atLeastMs, RETRY_MS * 2 ** this.#retries);
    this.#retries += 1;
    this.#offerAfter(waitMs);
  }

  /** @param {number} ms */
  #offerAfter(ms) {
    this.#runtime.clearTimeout(this.#timer);
    this.#timer = this.#runtime.setTimeout(() => void this.#enqueue(() => this.#offerIfNeeded()), ms);
  }

  /** @param {import("./protocol.js").WireCandidate | null} candidate */
  async #addCandidate(candidate) {
    try {
      if (candidate === null) await this.#pc.addIceCandidate();
      else await this.#pc.addIceCandidate({ candidate: candidate.candidate, sdpMid: candidate.mid, usernameFragment: candidate.ufrag });
    } catch {
      // One candidate that the browser cannot use is no reason to lose the others.
    }
  }

  #videoTransceiver() {
    return this.#pc
      .getTransceivers()
      .find(({ receiver, direction }) => receiver.track.kind === "video" && direction !== "stopped");
  }
}

/** @param {unknown} error */
function asError(error) {
  return error instanceof MinuetError ? error : new MinuetError("internal", String(error), { cause: error });
}

/** @param {string} direction */
function sends(direction) {
  return direction === "sendrecv" || direction === "sendonly";
}

/** @param {string} direction */
function receives(direction) {
  return direction === "sendrecv" || direction === "recvonly";
}

/** True where `current` lets more flow than `wanted`. @param {string} current @param {string} wanted */
function exceeds(current, wanted) {
  return (sends(current) && !sends(wanted)) || (receives(current) && !receives(wanted));
}
