/** Video joins a call as far as it is allowed, and leaves it. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Crossing, noVideo, videoIn, videoOf } from "./fakes/crossing.mjs";
import { settle } from "./fakes/runtime.mjs";

let crossing;

beforeEach(() => {
  crossing = new Crossing();
});

describe("video that is allowed", () => {
  test("both ways needs one negotiation: the polite side answers with its picture in it", async () => {
    await crossing.seeing();

    assert.deepEqual(crossing.offers, ["a", "a"]);
    assert.deepEqual(crossing.video, ["sendrecv", "sendrecv"]);
    assert.equal(videoOf(crossing.b.pc).sender.track, crossing.b.camera);
  });

  test("is offered by the polite side when the other has nothing to show", async () => {
    await crossing.talking();
    crossing.allow(true, true);
    crossing.b.permit.wish(crossing.b.camera);
    void crossing.b.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.offers, ["a", "b"]);
    assert.deepEqual(crossing.video, ["recvonly", "sendonly"]);
  });

  test("one way is sent one way, and the other side is not invited to send", async () => {
    await crossing.talking();
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
    await crossing.talking();
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
    await crossing.talking();
    crossing.allow(true, true);
    void crossing.a.negotiation.review();
    void crossing.b.negotiation.review();
    await crossing.calm();

    assert.deepEqual(crossing.offers, ["a"]);
  });
});

describe("taking video back", () => {
  test("stops sending at once and offers without it; the call goes on", async () => {
    await crossing.seeing();
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
    await crossing.seeing();
    crossing.allow(false, false);
    crossing.b.permit.wish(null);
    void crossing.b.negotiation.withdraw();
    crossing.a.negotiation.silence();
    await settle();
    await settle();

    assert.equal(crossing.offers.at(-1), "b");
  });

  test("of one direction leaves the other", async () => {
    await crossing.seeing();
    crossing.allow(false, true);
    crossing.a.permit.wish(null);
    void crossing.a.negotiation.withdraw();
    crossing.b.negotiation.silence();
    await crossing.calm();

    assert.deepEqual(crossing.video, ["recvonly", "sendonly"]);
  });

  test("and giving it again uses the same section", async () => {
    await crossing.seeing();
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
    await crossing.talking();
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

describe("an offer that a peer declines", () => {
  test("is not repeated", async () => {
    await crossing.talking();
    // b was told otherwise: it answers without video.
    crossing.a.permit.allow(true, true);
    crossing.a.permit.wish(crossing.a.camera);
    void crossing.a.negotiation.review();
    await crossing.calm(60_000);

    assert.deepEqual(crossing.offers, ["a", "a"]);
    assert.deepEqual(crossing.video, ["inactive", "inactive"]);
  });
});
