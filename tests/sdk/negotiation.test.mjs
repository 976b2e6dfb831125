/** Perfect negotiation with a server that may refuse. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Crossing, videoIn, videoOf } from "./fakes/crossing.mjs";
import { FakeTrack } from "./fakes/peer-connection.mjs";
import { FakeRuntime, settle } from "./fakes/runtime.mjs";

let runtime;
let crossing;

beforeEach(() => {
  runtime = new FakeRuntime();
  crossing = new Crossing(runtime);
});

/** Both have a voice call. */
async function talking() {
  void crossing.a.negotiation.start();
  void crossing.b.negotiation.start();
  await crossing.calm();
}

/** Both have video too. */
async function seeing() {
  await talking();
  crossing.allow(true, true);
  for (const side of [crossing.a, crossing.b]) {
    side.permit.wish(side.camera);
    void side.negotiation.review();
  }
  await crossing.calm();
}

const noVideo = (_seat, type, data) => (type !== "candidates" && !["none", "inactive"].includes(videoIn(data.sdp)) ? "video_not_allowed" : null);

describe("a voice call", () => {
  test("is offered by seat a, answered by b, and has no video section", async () => {
    await talking();

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.deepEqual(crossing.offers, ["a"]);
    assert.deepEqual(crossing.video, ["none", "none"]);
    assert.ok(crossing.a.negotiation.settled && crossing.b.negotiation.settled);
  });

  test("names the offer in its answer, and whose offer its candidates belong to", async () => {
    await talking();
    const answer = crossing.said.find(([, type]) => type === "answer")[2];
    const candidates = crossing.said.filter(([, type]) => type === "candidates").map(([seat, , { negotiation, of }]) => [seat, negotiation, of]);

    assert.deepEqual([answer.negotiation, answer.of], [1, "peer"]);
    assert.deepEqual([...candidates].sort(), [
      ["a", 1, "self"],
      ["b", 1, "peer"],
    ]);
  });

  test("gives each side the other's candidates, in one batch that says it is complete", async () => {
    await talking();

    assert.equal(crossing.a.pc.candidates.length, 2);
    assert.equal(crossing.b.pc.candidates.length, 2);
    const batches = crossing.said.filter(([, type]) => type === "candidates");
    assert.ok(batches.every(([, , { complete }]) => complete));
  });
});

describe("candidates", () => {
  test("wait until their own description has been accepted", async () => {
    let accept;
    crossing.verdict = new Promise((resolve) => (accept = resolve));
    void crossing.a.negotiation.start();
    await runtime.advance(1_000);
    // It is not even applied, so nothing has been gathered that could be said.
    assert.equal(crossing.a.pc.signalingState, "stable");
    assert.deepEqual(crossing.said.map(([, type]) => type), ["offer"]);
    accept();
    await runtime.advance(1_000);

    assert.equal(crossing.said.filter(([seat, type]) => seat === "a" && type === "candidates").length, 1);
  });

  test("of a refused offer are never sent", async () => {
    crossing.judge = (seat, type) => (type === "offer" ? "sdp_invalid" : null);
    await talking();

    assert.deepEqual(crossing.said.map(([, type]) => type), ["offer"]);
    assert.equal(crossing.a.pc.signalingState, "stable");
  });

  test("that come before their description are kept for it", async () => {
    crossing.held = true;
    void crossing.a.negotiation.start();
    await runtime.advance(100);
    const batch = crossing.said.find(([, type]) => type === "candidates")[2];
    await crossing.b.negotiation.takeCandidates({ ...batch, of: "peer" });
    assert.equal(crossing.b.pc.candidates.length, 0);
    await crossing.let("a");
    await settle();

    assert.equal(crossing.b.pc.candidates.length, 2);
  });

  test("that the browser cannot use stop nothing", async () => {
    await talking();
    await crossing.b.negotiation.takeCandidates({ negotiation: 1, of: "peer", candidates: [{ candidate: "candidate:9", mid: "0", ufrag: "foreign" }], complete: false });

    assert.deepEqual(crossing.b.stuck, []);
  });
});

describe("video that is allowed", () => {
  test("both ways needs one negotiation: the polite side answers with its picture in it", async () => {
    await seeing();

    assert.deepEqual(crossing.offers, ["a", "a"]);
    assert.deepEqual(crossing.video, ["sendrecv", "sendrecv"]);
    assert.equal(videoOf(crossing.b.pc).sender.track, crossing.b.camera);
  });

  test("is offered by the polite side when the other has nothing to show", async () => {
    await talking();
    crossing.allow(true, true);
    crossing.b.permit.wish(crossing.b.camera);
    void crossing.b.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.offers, ["a", "b"]);
    assert.deepEqual(crossing.video, ["recvonly", "sendonly"]);
  });

  test("one way is sent one way, and the other side is not invited to send", async () => {
    await talking();
    crossing.allow(false, true);
    crossing.a.permit.wish(crossing.a.camera);
    crossing.b.permit.wish(crossing.b.camera);
    void crossing.a.negotiation.review();
    void crossing.b.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.video, ["recvonly", "sendonly"]);
    assert.equal(videoIn(crossing.said.findLast(([, type]) => type === "offer")[2].sdp), "sendonly");
    assert.equal(videoOf(crossing.a.pc).sender.track, null);
  });

  test("grows both ways in the same section", async () => {
    await talking();
    crossing.allow(false, true);
    crossing.b.permit.wish(crossing.b.camera);
    void crossing.b.negotiation.review();
    await crossing.calm();
    crossing.allow(true, true);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.video, ["sendrecv", "sendrecv"]);
    assert.equal(crossing.a.pc.getTransceivers().length, 2);
  });

  test("is not offered without a camera", async () => {
    await talking();
    crossing.allow(true, true);
    void crossing.a.negotiation.review();
    void crossing.b.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.offers, ["a"]);
  });
});

describe("glare", () => {
  /** Both offer before either's offer has arrived. */
  async function collide() {
    await talking();
    crossing.held = true;
    // Only b may expect video, so neither waits for the other.
    crossing.allow(true, false);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    void crossing.b.negotiation.restart();
    await settle();
    assert.deepEqual(crossing.states, ["have-local-offer", "have-local-offer"]);
  }

  test("is won by seat a; b rolls back, answers, and offers what is still needed", async () => {
    await collide();
    await crossing.calm();

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.deepEqual(crossing.video, ["sendonly", "recvonly"]);
    assert.deepEqual(crossing.offers.slice(0, 3).sort(), ["a", "a", "b"]);
    assert.deepEqual([...crossing.a.stuck, ...crossing.b.stuck], []);
  });

  test("ends with one video section when both had added one", async () => {
    await talking();
    crossing.held = true;
    crossing.allow(true, true);
    for (const side of [crossing.a, crossing.b]) {
      side.permit.wish(side.camera);
      void side.negotiation.review();
    }
    // a's offer is under way but late, so b's patience ends.
    await runtime.advance(1_000);
    assert.deepEqual(crossing.states, ["have-local-offer", "have-local-offer"]);
    await crossing.calm();

    assert.deepEqual(crossing.video, ["sendrecv", "sendrecv"]);
    assert.equal(crossing.a.pc.getTransceivers().length, 2);
    assert.equal(crossing.b.pc.getTransceivers().length, 2);
  });

  test("where a's offer is refused, b's counts after all", async () => {
    await talking();
    crossing.allow(false, true);
    crossing.held = true;
    crossing.b.permit.wish(crossing.b.camera);
    void crossing.b.negotiation.review();
    await settle();
    let decide;
    crossing.verdict = new Promise((resolve) => (decide = resolve));
    crossing.judge = (seat, type) => (seat === "a" && type === "offer" ? "rate_limited" : null);
    void crossing.a.negotiation.restart();
    await settle();
    // b's offer reaches a while a's own is being judged.
    await crossing.let("b");
    assert.deepEqual(crossing.states, ["stable", "have-local-offer"]);
    decide();
    await crossing.calm(400);

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.deepEqual(crossing.video, ["recvonly", "sendonly"]);
    const answers = crossing.said.filter(([seat, type]) => seat === "a" && type === "answer");
    assert.deepEqual(answers.map(([, , { negotiation }]) => negotiation), [1]);
    assert.equal(crossing.said.filter(([seat, type]) => seat === "b" && type === "offer").length, 1);
  });
});

describe("a refused offer", () => {
  test("was never applied, its video is off, and nothing more is tried", async () => {
    await talking();
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
    await talking();
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
    await talking();
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
    await talking();

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
    await talking();
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
    await talking();
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
    await runtime.advance(600);

    assert.deepEqual(crossing.offers, ["a", "a"]);
  });

  test("does not disturb another when it is of the past", async () => {
    await talking();
    crossing.held = true;
    void crossing.a.negotiation.restart();
    await settle();
    await crossing.a.negotiation.takeFailure({ negotiation: 1, of: "self", code: "timeout" });

    assert.equal(crossing.a.pc.signalingState, "have-local-offer");
  });

  test("about video is tried again too", async () => {
    await talking();
    crossing.allow(true, true);
    crossing.held = true;
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await settle();
    await crossing.a.negotiation.takeFailure({ negotiation: 2, of: "self", code: "timeout" });
    await runtime.advance(600);

    assert.deepEqual(crossing.offers, ["a", "a", "a"]);
  });

  test("leaves no rollback behind: an offer follows that brings the transports back", async () => {
    await talking();
    crossing.held = true;
    crossing.allow(true, true);
    crossing.b.permit.wish(crossing.b.camera);
    void crossing.b.negotiation.review();
    await runtime.advance(500);
    assert.equal(crossing.b.pc.signalingState, "have-local-offer");
    crossing.allow(false, false);
    await crossing.b.negotiation.takeFailure({ negotiation: 1, of: "self", code: "video_not_allowed" });
    assert.equal(crossing.b.pc.signalingState, "stable");
    await runtime.advance(600);

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
    await runtime.advance(600);
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

describe("taking video back", () => {
  test("stops sending at once and offers without it; the call goes on", async () => {
    await seeing();
    crossing.held = true;
    crossing.a.permit.allow(false, false);
    crossing.a.permit.wish(null);
    void crossing.a.negotiation.withdraw();
    assert.equal(videoOf(crossing.a.pc).sender.track, null);
    assert.equal(videoOf(crossing.a.pc).direction, "inactive");
    crossing.b.permit.allow(false, false);
    crossing.b.permit.wish(null);
    crossing.b.negotiation.silence();
    assert.equal(videoOf(crossing.b.pc).sender.track, null);
    await crossing.calm();

    assert.equal(videoIn(crossing.said.findLast(([, type]) => type === "offer")[2].sdp), "inactive");
    assert.deepEqual(crossing.offers, ["a", "a", "a"]);
    assert.deepEqual(crossing.video, ["inactive", "inactive"]);
    assert.deepEqual(crossing.states, ["stable", "stable"]);
  });

  test("by the polite side does not wait either", async () => {
    await seeing();
    crossing.allow(false, false);
    crossing.b.permit.wish(null);
    void crossing.b.negotiation.withdraw();
    crossing.a.negotiation.silence();
    await settle();
    await settle();

    assert.equal(crossing.offers.at(-1), "b");
  });

  test("of one direction leaves the other", async () => {
    await seeing();
    crossing.allow(false, true);
    crossing.a.permit.wish(null);
    void crossing.a.negotiation.withdraw();
    crossing.b.negotiation.silence();
    await crossing.calm();

    assert.deepEqual(crossing.video, ["recvonly", "sendonly"]);
  });

  test("and giving it again uses the same section", async () => {
    await seeing();
    crossing.allow(false, false);
    void crossing.a.negotiation.withdraw();
    crossing.b.negotiation.silence();
    await crossing.calm();
    crossing.allow(true, true);
    void crossing.a.negotiation.review();
    void crossing.b.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.video, ["sendrecv", "sendrecv"]);
    assert.equal(crossing.a.pc.getTransceivers().length, 2);
  });

  test("while an offer with video is under way: what is refused of it does no harm", async () => {
    await talking();
    crossing.allow(true, true);
    crossing.held = true;
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    crossing.judge = noVideo;
    crossing.allow(false, false);
    void crossing.b.negotiation.withdraw();
    crossing.a.permit.wish(null);
    crossing.a.negotiation.silence();
    await crossing.calm();

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.ok(crossing.video.every((direction) => ["none", "inactive"].includes(direction)));
  });
});

describe("an ICE restart", () => {
  test("brings new credentials and the candidates that belong to them", async () => {
    await talking();
    void crossing.a.negotiation.restart();
    await crossing.calm();

    assert.equal(crossing.a.pc.candidates.length, 4);
    assert.equal(crossing.b.pc.candidates.length, 4);
  });

  test("that both want happens once", async () => {
    await talking();
    crossing.held = true;
    void crossing.a.negotiation.restart();
    void crossing.b.negotiation.restart();
    await settle();
    await crossing.calm();

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.equal(crossing.said.filter(([, type]) => type === "answer").length, 2);
  });
});

describe("an offer that a peer declines", () => {
  test("is not repeated", async () => {
    await talking();
    // b was told otherwise: it answers without video.
    crossing.a.permit.allow(true, true);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await crossing.calm(60_000);

    assert.deepEqual(crossing.offers, ["a", "a"]);
    assert.deepEqual(crossing.video, ["inactive", "inactive"]);
  });
});

describe("whatever happens in whatever order", () => {
  /** A small generator with a seed, so that a failure can be seen again. */
  function dice(seed) {
    let state = seed;
    return (sides) => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return state % sides;
    };
  }

  for (let seed = 1; seed <= 60; seed += 1) {
    test(`both end stable, with no more video than is allowed (seed ${seed})`, async () => {
      const roll = dice(seed);
      await talking();
      let allowed = { a: false, b: false };
      crossing.judge = (seat, type, data) => {
        if (type === "candidates") return null;
        const direction = videoIn(data.sdp);
        const [mine, theirs] = seat === "a" ? [allowed.a, allowed.b] : [allowed.b, allowed.a];
        const sending = direction === "sendrecv" || direction === "sendonly";
        const receiving = direction === "sendrecv" || direction === "recvonly";
        if ((sending && !mine) || (type === "offer" && receiving && !theirs)) return "video_not_allowed";
        return roll(12) === 0 ? "rate_limited" : null;
      };
      for (let step = 0; step < 12; step += 1) {
        crossing.held = roll(2) === 0;
        const seat = roll(2) === 0 ? "a" : "b";
        const side = crossing[seat];
        const act = roll(5);
        if (act === 0) {
          allowed = { a: roll(2) === 0, b: roll(2) === 0 };
          crossing.allow(allowed.a, allowed.b);
          void side.negotiation.withdraw();
          crossing[seat === "a" ? "b" : "a"].negotiation.silence();
        } else if (act === 1) side.permit.wish(roll(3) === 0 ? null : new FakeTrack("video"));
        else if (act === 2) void side.negotiation.restart();
        else if (act === 3) await runtime.advance(roll(600));
        else await crossing.let(seat);
        void side.negotiation.review();
        if (roll(2) === 0) await settle();
      }
      await crossing.calm(30_000);

      assert.deepEqual(crossing.states, ["stable", "stable"]);
      const [a, b] = crossing.video;
      assert.ok(allowed.a || !/send/.test(a), `a sends unasked: ${a}`);
      assert.ok(allowed.b || !/send/.test(b), `b sends unasked: ${b}`);
      assert.deepEqual([...crossing.a.stuck, ...crossing.b.stuck], []);
      assert.ok(crossing.a.pc.getTransceivers().length <= 2 && crossing.b.pc.getTransceivers().length <= 2);
      assert.ok(crossing.offers.length < 60, `${crossing.offers.length} offers`);
    });
  }
});
