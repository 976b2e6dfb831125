/** A call as the server sees it, mirrored. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { CALL, CallSide } from "./fixtures/call-side.mjs";

let side;
let runtime;

beforeEach(() => {
  side = new CallSide();
  ({ runtime } = side);
});

describe("the server's view", () => {
  test("is mirrored, and an older one changes nothing", async () => {
    const call = await side.talking();
    const old = side.live({ connected: true });
    call.receive("call.state", side.live({ pending: { video: { by: "b", until_at: 7 }, extend: { by: "a", until_at: 8 } }, extensions_left: 1 }));
    call.receive("call.state", { ...old, version: 1 });

    assert.equal(call.state, "live");
    assert.equal(call.connected, false);
    assert.deepEqual(call.pending, { video: { mine: false, untilAt: 7 }, extend: { mine: true, untilAt: 8 } });
    assert.equal(call.extensionsLeft, 1);
  });

  test("gives the clock by the server's time, and how long it had", async () => {
    const call = await side.talking();
    await runtime.advance(30_000);

    assert.equal(call.clockMs, 180_000);
    assert.equal(call.remainingMs, 150_000);
  });

  test("of an extension makes the ring full again", async () => {
    const call = await side.talking();
    await runtime.advance(170_000);
    call.receive("call.state", side.view({ state: "live", ends_at: runtime.now() + 190_000 }));

    assert.equal(call.clockMs, 190_000);
  });

  test("asks again what media does when the call waits for it", async () => {
    const call = await side.talking();
    call.receive("call.state", side.view({ state: "reconnecting", ends_at: call.endsAt }));

    assert.deepEqual(side.saidOf("call.media").map(({ state }) => state), ["connected", "connected"]);
  });

  test("changes nothing after the end", async () => {
    const call = await side.talking();
    call.receive("call.ended", { call_id: CALL, reason: "completed", duration_ms: 1, requeued: false });
    call.receive("call.state", side.live());

    assert.equal(call.state, "ended");
  });
});
