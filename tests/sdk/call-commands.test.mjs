/** What a user may do in a call. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { settle } from "./fakes/runtime.mjs";
import { CALL, CallSide } from "./fixtures/call-side.mjs";

let side;
let media;
let said;
let connections;

beforeEach(() => {
  side = new CallSide();
  ({ media, said, connections } = side);
});

describe("what may be asked", () => {
  test("carries the call's id", async () => {
    const call = await side.talking();
    said.length = 0;
    await Promise.all([
      call.accept(),
      call.requestVideo(),
      call.approveVideo("both"),
      call.denyVideo(),
      call.extend(),
      call.replyExtend(true),
      call.connect(),
      call.pass(),
      call.report("spam", "words"),
      call.hangup(),
      call.block(),
    ]);

    assert.deepEqual(said, [
      ["call.accept", { call_id: CALL }],
      ["video.request", { call_id: CALL }],
      ["video.approve", { call_id: CALL, direction: "both" }],
      ["video.deny", { call_id: CALL }],
      ["call.extend", { call_id: CALL }],
      ["call.extend.reply", { call_id: CALL, accept: true }],
      ["connect.request", { call_id: CALL }],
      ["connect.pass", { call_id: CALL }],
      ["safety.report", { call_id: CALL, category: "spam", note: "words" }],
      ["call.hangup", { call_id: CALL }],
      ["safety.block", { call_id: CALL }],
    ]);
  });

  test("follows from the role", () => {
    const may = (role) => {
      const call = side.makeCall({ role });
      return [call.mayRequestVideo, call.mayConnect];
    };

    assert.deepEqual(may("controller"), [false, true]);
    assert.deepEqual(may("guest"), [true, false]);
    assert.deepEqual(may("mutual"), [true, true]);
  });

  test("to be muted silences the microphone, and a reset leaves it so", async () => {
    const call = await side.talking();
    call.mute(true);
    assert.equal(media.microphone.enabled, false);
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.equal(media.microphone.enabled, false);
    call.mute(false);
    assert.equal(media.microphone.enabled, true);
  });

  test("to be muted holds for a microphone that is opened later", async () => {
    const call = side.makeCall();
    call.mute(true);
    call.receive("call.state", side.view());
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();

    assert.equal(media.microphone.enabled, false);
  });

  test("to hang up stops media here at once", async () => {
    const call = await side.talking();
    void call.hangup();

    assert.equal(connections[0].signalingState, "closed");
  });
});
