/**
 * Two negotiations with a server between them, as far as it concerns descriptions and candidates: it accepts or
 * refuses, and carries what it accepted, each side's messages in order. Delays are the test's.
 */

import { MinuetError, Negotiation, VideoPermit } from "../../../minuet/web/sdk/index.js";
import { FakePeerConnection, FakeTrack, sectionsOf } from "./peer-connection.mjs";
import { FakeRuntime, settle } from "./runtime.mjs";

const other = { a: "b", b: "a" };
const turned = { self: "peer", peer: "self" };

export class Crossing {
  runtime = new FakeRuntime();
  /** What was said, in order: `[seat, type, data]`. */
  said = [];
  /** What a seat says is judged by this; a code refuses it. @type {(seat: string, type: string, data: any) => string | null} */
  judge = () => null;
  /** The server takes until this resolves to judge a description. */
  verdict = Promise.resolve();
  /** While true, what was accepted waits here. */
  held = false;
  #lane = { a: [], b: [] };
  #highest = { a: -1, b: -1 };
  a = this.#side("a");
  b = this.#side("b");

  #side(seat) {
    const pc = new FakePeerConnection();
    pc.addTrack(new FakeTrack("audio"));
    const permit = new VideoPermit();
    let number = 1;
    const say = (type, data) => this.#say(seat, type, data);
    const negotiation = new Negotiation({
      pc,
      offers: seat === "a",
      wire: {
        offer: (n, sdp) => say("offer", { negotiation: n, sdp }),
        answer: (n, sdp) => say("answer", { negotiation: n, of: "peer", sdp }),
        candidates: (batch) => void say("candidates", batch).catch(() => {}),
      },
      nextNumber: () => number++,
      permit,
      runtime: this.runtime,
    });
    const stuck = [];
    negotiation.on("stuck", (error) => stuck.push(error));
    return { pc, permit, negotiation, stuck, camera: new FakeTrack("video") };
  }

  async #say(seat, type, data) {
    this.said.push([seat, type, data]);
    await new Promise((resolve) => setImmediate(resolve));
    if (type !== "candidates") await this.verdict;
    const code = this.judge(seat, type, data);
    if (code !== null) {
      // A refused answer is told to both; a refused offer to its sender only.
      if (type === "answer") this.#carry(seat, () => this[other[seat]].negotiation.takeFailure({ negotiation: data.negotiation, of: "self", code }));
      throw new MinuetError(code);
    }
    if (type === "offer") {
      if (data.negotiation <= this.#highest[seat]) throw new MinuetError("stale_negotiation");
      this.#highest[seat] = data.negotiation;
    }
    const { negotiation } = this[other[seat]];
    if (type === "offer") this.#carry(seat, () => negotiation.takeOffer(data));
    else if (type === "answer") this.#carry(seat, () => negotiation.takeAnswer({ ...data, of: "self" }));
    else this.#carry(seat, () => negotiation.takeCandidates({ ...data, of: turned[data.of] }));
    return {};
  }

  #carry(seat, deliver) {
    this.#lane[seat].push(deliver);
    if (!this.held) setImmediate(() => this.#deliver(seat));
  }

  #deliver(seat) {
    this.#lane[seat].shift()?.();
  }

  /** Lets the next message of a seat through. */
  async let(seat) {
    this.#deliver(seat);
    await settle();
  }

  /** Lets everything through, until nobody has anything more to say. */
  async calm(ms = 5_000) {
    this.held = false;
    while (this.#lane.a.length + this.#lane.b.length > 0) {
      this.#deliver("a");
      this.#deliver("b");
      await settle();
    }
    await this.runtime.advance(ms);
    await this.runtime.advance(ms);
  }

  /** Both have a voice call. */
  async talking() {
    void this.a.negotiation.start();
    void this.b.negotiation.start();
    await this.calm();
  }

  /** Both have video too. */
  async seeing() {
    await this.talking();
    this.allow(true, true);
    for (const side of [this.a, this.b]) {
      side.permit.wish(side.camera);
      void side.negotiation.review();
    }
    await this.calm();
  }

  /** Both say what the server says of video. */
  allow(a, b) {
    this.a.permit.allow(a, b);
    this.b.permit.allow(b, a);
    this.a.permit.unblock();
    this.b.permit.unblock();
  }

  /** The seats that offered, in order. */
  get offers() {
    return this.said.filter(([, type]) => type === "offer").map(([seat]) => seat);
  }

  /** What each has of video now. */
  get video() {
    return [this.a, this.b].map(({ pc }) => videoOf(pc)?.currentDirection ?? "none");
  }

  get states() {
    return [this.a.pc.signalingState, this.b.pc.signalingState];
  }
}

export function videoOf(pc) {
  return pc.getTransceivers().find(({ kind }) => kind === "video");
}

/** The direction of video in a description; "none" where it has no such section. */
export function videoIn(sdp) {
  return sectionsOf(sdp).find(({ kind }) => kind === "video")?.direction ?? "none";
}

/** A judge who refuses every description in which video may flow. */
export function noVideo(_seat, type, data) {
  return type !== "candidates" && !["none", "inactive"].includes(videoIn(data.sdp)) ? "video_not_allowed" : null;
}
