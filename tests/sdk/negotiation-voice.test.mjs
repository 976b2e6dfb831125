/** Two sides agree on a voice call, on its candidates, and on an ICE restart. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Crossing } from "./fakes/crossing.mjs";
import { settle } from "./fakes/runtime.mjs";

let crossing;

beforeEach(() => {
  crossing = new Crossing();
});

describe("a voice call", () => {
  test("is offered by seat a, answered by b, and has no video section", async () => {
    await crossing.talking();

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.deepEqual(crossing.offers, ["a"]);
    assert.deepEqual(crossing.video, ["none", "none"]);
    assert.ok(crossing.a.negotiation.settled && crossing.b.negotiation.settled);
  });

  test("names the offer in its answer, and whose offer its candidates belong to", async () => {
    await crossing.talking();
    const answer = crossing.said.find(([, type]) => type === "answer")[2];
    const candidates = crossing.said.filter(([, type]) => type === "candidates").map(([seat, , { negotiation, of }]) => [seat, negotiation, of]);

    assert.deepEqual([answer.negotiation, answer.of], [1, "peer"]);
    assert.deepEqual([...candidates].sort(), [
      ["a", 1, "self"],
      ["b", 1, "peer"],
    ]);
  });

  test("gives each side the other's candidates, in one batch that says it is complete", async () => {
    await crossing.talking();

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
    await crossing.runtime.advance(1_000);
    // It is not even applied, so nothing has been gathered that could be said.
    assert.equal(crossing.a.pc.signalingState, "stable");
    assert.deepEqual(crossing.said.map(([, type]) => type), ["offer"]);
    accept();
    await crossing.runtime.advance(1_000);

    assert.equal(crossing.said.filter(([seat, type]) => seat === "a" && type === "candidates").length, 1);
  });

  test("of a refused offer are never sent", async () => {
    crossing.judge = (seat, type) => (type === "offer" ? "sdp_invalid" : null);
    await crossing.talking();

    assert.deepEqual(crossing.said.map(([, type]) => type), ["offer"]);
    assert.equal(crossing.a.pc.signalingState, "stable");
  });

  test("that come before their description are kept for it", async () => {
    crossing.held = true;
    void crossing.a.negotiation.start();
    await crossing.runtime.advance(100);
    const batch = crossing.said.find(([, type]) => type === "candidates")[2];
    await crossing.b.negotiation.takeCandidates({ ...batch, of: "peer" });
    assert.equal(crossing.b.pc.candidates.length, 0);
    await crossing.let("a");
    await settle();

    assert.equal(crossing.b.pc.candidates.length, 2);
  });

  test("that the browser cannot use stop nothing", async () => {
    await crossing.talking();
    await crossing.b.negotiation.takeCandidates({ negotiation: 1, of: "peer", candidates: [{ candidate: "candidate:9", mid: "0", ufrag: "foreign" }], complete: false });

    assert.deepEqual(crossing.b.stuck, []);
  });
});

describe("an ICE restart", () => {
  test("brings new credentials and the candidates that belong to them", async () => {
    await crossing.talking();
    void crossing.a.negotiation.restart();
    await crossing.calm();

    assert.equal(crossing.a.pc.candidates.length, 4);
    assert.equal(crossing.b.pc.candidates.length, 4);
  });

  test("that both want happens once", async () => {
    await crossing.talking();
    crossing.held = true;
    void crossing.a.negotiation.restart();
    void crossing.b.negotiation.restart();
    await settle();
    await crossing.calm();

    assert.deepEqual(crossing.states, ["stable", "stable"]);
    assert.equal(crossing.said.filter(([, type]) => type === "answer").length, 2);
  });
});
