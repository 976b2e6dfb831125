/** Two sides do whatever they like, in any order, and still agree in the end. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Crossing, videoIn } from "./fakes/crossing.mjs";
import { FakeTrack } from "./fakes/peer-connection.mjs";
import { settle } from "./fakes/runtime.mjs";

let crossing;

beforeEach(() => {
  crossing = new Crossing();
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
      await crossing.talking();
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
        else if (act === 3) await crossing.runtime.advance(roll(600));
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
