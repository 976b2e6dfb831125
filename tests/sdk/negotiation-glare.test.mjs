/** Both sides offer at once. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Crossing } from "./fakes/crossing.mjs";
import { settle } from "./fakes/runtime.mjs";

let crossing;

beforeEach(() => {
  crossing = new Crossing();
});

describe("glare", () => {
  /** Both offer before either's offer has arrived. */
  async function collide() {
    await crossing.talking();
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
    await crossing.talking();
    crossing.held = true;
    crossing.allow(true, true);
    for (const side of [crossing.a, crossing.b]) {
      side.permit.wish(side.camera);
      void side.negotiation.review();
    }
    // a's offer is under way but late, so b's patience ends.
    await crossing.runtime.advance(1_000);
    assert.deepEqual(crossing.states, ["have-local-offer", "have-local-offer"]);
    await crossing.calm();

    assert.deepEqual(crossing.video, ["sendrecv", "sendrecv"]);
    assert.equal(crossing.a.pc.getTransceivers().length, 2);
    assert.equal(crossing.b.pc.getTransceivers().length, 2);
  });

  test("where a's offer is refused, b's counts after all", async () => {
    await crossing.talking();
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
