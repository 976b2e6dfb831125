/** Offers and answers that the server refuses, and those that nobody answers. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Crossing, noVideo, videoOf } from "./fakes/crossing.mjs";
import { settle } from "./fakes/runtime.mjs";

let crossing;

beforeEach(() => {
  crossing = new Crossing();
});

describe("a refused offer", () => {
  test("was never applied, its video is off, and nothing more is tried", async () => {
    await crossing.talking();
    crossing.judge = noVideo;
    crossing.allow(true, true);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await crossing.calm(60_000);

    assert.deepEqual(crossing.offers, ["a", "a"]);
    assert.equal(crossing.a.pc.signalingState, "stable");
    assert.equal(videoOf(crossing.a.pc).direction, "inactive");
    assert.equal(videoOf(crossing.a.pc).sender.track, null);
  });

  test("of video is tried again once video has been allowed anew", async () => {
    await crossing.talking();
    crossing.judge = noVideo;
    crossing.allow(true, true);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await crossing.calm();
    crossing.judge = () => null;
    crossing.allow(true, true);
    void crossing.a.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.video, ["sendonly", "recvonly"]);
  });

  test("leaves both able to negotiate", async () => {
    await crossing.talking();
    crossing.judge = noVideo;
    crossing.allow(true, true);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await crossing.calm();
    void crossing.b.negotiation.restart();
    await crossing.calm();
    void crossing.a.negotiation.restart();
    await crossing.calm();

    assert.deepEqual(crossing.offers, ["a", "a", "b", "a"]);
    assert.deepEqual(crossing.states, ["stable", "stable"]);
  });

  test("for reasons of the moment is made again, later and with a new number", async () => {
    let refusals = 2;
    crossing.judge = (seat, type) => (type === "offer" && refusals-- > 0 ? "rate_limited" : null);
    await crossing.talking();

    assert.deepEqual(crossing.said.filter(([, type]) => type === "offer").map(([, , { negotiation }]) => negotiation), [1, 2, 3]);
    assert.deepEqual(crossing.states, ["stable", "stable"]);
  });

  test("is not made again for ever", async () => {
    crossing.judge = (seat, type) => (type === "offer" ? "rate_limited" : null);
    void crossing.a.negotiation.start();
    await crossing.calm(120_000);

    assert.equal(crossing.offers.length, 4);
  });

  test("is made again as patiently as before, once another has gone well", async () => {
    let refusals = 3;
    crossing.judge = (seat, type) => (type === "offer" && refusals-- > 0 ? "rate_limited" : null);
    await crossing.talking();
    refusals = 3;
    void crossing.a.negotiation.restart();
    await crossing.calm();

    assert.equal(crossing.offers.length, 8);
    assert.deepEqual(crossing.states, ["stable", "stable"]);
  });

  for (const code of ["call_ended", "sdp_invalid", "not_a_participant"]) {
    test(`is not made again after ${code}`, async () => {
      crossing.judge = (seat, type) => (type === "offer" ? code : null);
      void crossing.a.negotiation.start();
      await crossing.calm(60_000);

      assert.equal(crossing.offers.length, 1);
    });
  }
});

describe("a refused answer", () => {
  /** b's answer is refused once, when it would send video. */
  async function refusedOnce() {
    await crossing.talking();
    crossing.allow(true, true);
    crossing.b.permit.wish(crossing.b.camera);
    crossing.judge = (seat, type) => (seat === "b" && type === "answer" ? "video_not_allowed" : null);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await crossing.calm();
  }

  test("was not applied: both roll back, and nothing is sent", async () => {
    await refusedOnce();

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.equal(videoOf(crossing.b.pc)?.currentDirection ?? null, null);
    assert.equal(videoOf(crossing.a.pc).currentDirection, null);
  });

  test("leaves both able to negotiate", async () => {
    await refusedOnce();
    crossing.judge = () => null;
    crossing.allow(true, true);
    void crossing.a.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.video, ["sendrecv", "sendrecv"]);
  });

  test("whose fate is unknown cannot be helped here: the connection is stuck", async () => {
    crossing.judge = (seat, type) => (type === "answer" ? "timeout" : null);
    void crossing.a.negotiation.start();
    await crossing.calm(100);

    assert.equal(crossing.b.stuck.length, 1);
    assert.equal(crossing.b.stuck[0].code, "timeout");
  });
});

describe("a negotiation that nobody answers", () => {
  test("is rolled back when the server gives it up, and tried again", async () => {
    crossing.held = true;
    void crossing.a.negotiation.start();
    await settle();
    crossing.b.negotiation.close();
    await crossing.a.negotiation.takeFailure({ negotiation: 1, of: "self", code: "timeout" });
    assert.equal(crossing.a.pc.signalingState, "stable");
    await crossing.runtime.advance(600);

    assert.deepEqual(crossing.offers, ["a", "a"]);
  });

  test("does not disturb another when it is of the past", async () => {
    await crossing.talking();
    crossing.held = true;
    void crossing.a.negotiation.restart();
    await settle();
    await crossing.a.negotiation.takeFailure({ negotiation: 1, of: "self", code: "timeout" });

    assert.equal(crossing.a.pc.signalingState, "have-local-offer");
  });

  test("about video is tried again too", async () => {
    await crossing.talking();
    crossing.allow(true, true);
    crossing.held = true;
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await settle();
    await crossing.a.negotiation.takeFailure({ negotiation: 2, of: "self", code: "timeout" });
    await crossing.runtime.advance(600);

    assert.deepEqual(crossing.offers, ["a", "a", "a"]);
  });

  test("leaves no rollback behind: an offer follows that brings the transports back", async () => {
    await crossing.talking();
    crossing.held = true;
    crossing.allow(true, true);
    crossing.b.permit.wish(crossing.b.camera);
    void crossing.b.negotiation.review();
    await crossing.runtime.advance(500);
    assert.equal(crossing.b.pc.signalingState, "have-local-offer");
    crossing.allow(false, false);
    await crossing.b.negotiation.takeFailure({ negotiation: 1, of: "self", code: "video_not_allowed" });
    assert.equal(crossing.b.pc.signalingState, "stable");
    await crossing.runtime.advance(600);

    assert.deepEqual(crossing.offers, ["a", "b", "b"]);
    const again = crossing.said.filter(([seat, type]) => seat === "b" && type === "offer").at(-1)[2];
    assert.equal(noVideo("b", "offer", again), null);
  });

  test("is not finished by the answer to the one before", async () => {
    crossing.held = true;
    void crossing.a.negotiation.start();
    await settle();
    await crossing.let("a");
    const late = crossing.said.find(([, type]) => type === "answer")[2];
    await crossing.a.negotiation.takeFailure({ negotiation: 1, of: "self", code: "timeout" });
    await crossing.runtime.advance(600);
    assert.equal(crossing.a.pc.signalingState, "have-local-offer");
    await crossing.a.negotiation.takeAnswer({ ...late, of: "self" });

    assert.equal(crossing.a.pc.signalingState, "have-local-offer");
  });

  test("is not finished by an answer that comes too late", async () => {
    crossing.held = true;
    void crossing.a.negotiation.start();
    await settle();
    await crossing.let("a");
    await settle();
    const late = crossing.said.find(([, type]) => type === "answer")[2];
    await crossing.a.negotiation.takeFailure({ negotiation: 1, of: "self", code: "timeout" });
    await crossing.a.negotiation.takeAnswer({ ...late, of: "self" });

    assert.equal(crossing.a.negotiation.settled, false);
    assert.deepEqual(crossing.a.stuck, []);
  });
});
