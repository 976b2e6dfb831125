/** Video in a call: never before it is allowed, and never after. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { MinuetError } from "../../minuet/web/sdk/index.js";
import { videoOf } from "./fakes/crossing.mjs";
import { settle } from "./fakes/runtime.mjs";
import { CALL, CallSide } from "./fixtures/call-side.mjs";

let side;
let runtime;
let devices;
let said;
let answers;
let connections;

beforeEach(() => {
  side = new CallSide();
  ({ runtime, devices, said, answers, connections } = side);
});

describe("video", () => {
  const both = { video_allowed: { a: true, b: true } };

  test("cannot be started before it is allowed, and opens no camera", async () => {
    const call = await side.talking();

    await assert.rejects(call.startCamera(), { code: "video_not_allowed" });
    assert.equal(devices.opened.filter(({ kind }) => kind === "video").length, 0);
  });

  test("is offered once it is allowed and the camera runs", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    await call.startCamera();
    await settle();

    assert.equal(side.saidOf("call.offer").length, 2);
    assert.equal(videoOf(connections[0]).direction, "sendrecv");
  });

  test("taken back stops here before the server knows", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    await call.startCamera();
    await settle();
    await side.answerOffer(call);
    const camera = devices.opened.at(-1);
    const offersBefore = side.saidOf("call.offer").length;
    void call.revokeVideo();

    assert.equal(camera.readyState, "ended");
    assert.equal(videoOf(connections[0]).sender.track, null);
    assert.deepEqual(call.videoAllowed, { self: false, peer: false });
    assert.equal(call.remoteVideo, null);
    await settle();
    const order = said.map(([type]) => type);
    assert.ok(order.lastIndexOf("video.revoke") < order.lastIndexOf("call.offer"));
    assert.equal(side.saidOf("call.offer").length, offersBefore + 1);
  });

  test("taken back is not brought back by news that is older", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    await call.startCamera();
    await settle();
    await side.answerOffer(call);
    let confirm;
    answers["video.revoke"] = new Promise((resolve) => (confirm = resolve));
    const revoking = call.revokeVideo();
    call.receive("call.state", side.live({ ...both, pending: { video: null, extend: { by: "b", until_at: 9 } } }));
    await settle();

    assert.deepEqual(call.videoAllowed, { self: false, peer: false });
    assert.match(side.saidOf("call.offer").at(-1).sdp, /m=video[^]*a=inactive/);
    confirm({});
    await revoking;
    call.receive("video.allowed", { call_id: CALL, ...both });
    assert.deepEqual(call.videoAllowed, { self: true, peer: true });
  });

  test("taken back by the other stops here as soon as it is known", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    await call.startCamera();
    await settle();
    call.receive("video.revoked", { call_id: CALL, video_allowed: { a: false, b: false } });

    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.equal(videoOf(connections[0]).sender.track, null);
  });

  test("narrowed by the controller to watching stops her camera first", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    await call.startCamera();
    await settle();
    await side.answerOffer(call);
    void call.approveVideo("receive");

    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.equal(call.videoAllowed.self, false);
    assert.equal(call.videoAllowed.peer, true);
    await settle();
    assert.match(side.saidOf("call.offer").at(-1).sdp, /m=video[^]*a=recvonly/);
  });

  test("taken back while the user was being asked for the camera opens nothing", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    const starting = call.startCamera();
    call.receive("video.revoked", { call_id: CALL, video_allowed: { a: false, b: false } });

    await assert.rejects(starting, { code: "video_not_allowed" });
    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.equal(call.cameraOn, false);
  });

  test("that the server refused is tried again when it says yes once more", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    answers["call.offer"] = new MinuetError("video_not_allowed");
    await call.startCamera();
    await settle();
    answers["call.offer"] = {};
    await runtime.advance(10_000);
    const before = side.saidOf("call.offer").length;
    call.receive("video.allowed", { call_id: CALL, ...both });
    await settle();

    assert.equal(side.saidOf("call.offer").length, before + 1);
  });

  test("is not started by a user who was still being asked when the call ended", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    const starting = call.startCamera();
    call.receive("call.state", side.view({ ...both, state: "deciding" }));

    await assert.rejects(starting, { code: "video_not_allowed" });
    assert.equal(devices.opened.at(-1).readyState, "ended");
  });

  test("is the other side's by seat, not by role", async () => {
    const call = await side.talking({ seat: "b", role: "guest" });
    call.receive("call.state", side.live({ seat: "b", role: "guest", video_allowed: { a: false, b: true } }));

    assert.deepEqual(call.videoAllowed, { self: true, peer: false });
  });

  test("may be turned off and on without any signaling while it is allowed", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live(both));
    await call.startCamera();
    await settle();
    await side.answerOffer(call);
    const before = side.saidOf("call.offer").length;
    call.stopCamera();
    await settle();

    assert.equal(videoOf(connections[0]).sender.track, null);
    const camera = await call.startCamera();
    await settle();
    assert.equal(videoOf(connections[0]).sender.track, camera);
    assert.equal(videoOf(connections[0]).direction, "sendrecv");
    assert.equal(side.saidOf("call.offer").length, before);
  });
});
