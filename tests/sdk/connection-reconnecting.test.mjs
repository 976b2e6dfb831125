/** When a connection comes back, and when it does not. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { MinuetError } from "../../minuet/web/sdk/index.js";
import { settle } from "./fakes/runtime.mjs";
import { Session } from "./fixtures/session.mjs";

let session;
let network;
let runtime;
let connection;
let tokens;
let heard;

beforeEach(() => {
  session = new Session();
  ({ network, runtime, connection, tokens, heard } = session);
});

describe("reconnecting", () => {
  test("waits a random time under a ceiling that doubles from 0.5 to 20 s", async () => {
    const waits = session.watchWaits();
    network.online = false;
    runtime.chances(...Array(9).fill(0.999));
    connection.open();
    await runtime.advance(120_000);

    assert.deepEqual(waits.slice(0, 8), [499, 999, 1998, 3996, 7992, 15984, 19980, 19980]);
  });

  test("may wait no time at all: the jitter is full", async () => {
    const waits = session.watchWaits();
    network.online = false;
    runtime.chances(0, 0.5);
    connection.open();
    await runtime.advance(600);

    assert.deepEqual(waits.slice(0, 2), [0, 500]);
  });

  test("comes within half a second in a call, and never waits above 2 s", async () => {
    await session.opened();
    connection.setUrgent(true);
    const waits = session.watchWaits();
    network.online = false;
    runtime.chances(...Array(9).fill(0.999));
    network.server.cut();
    await runtime.advance(12_000);

    assert.ok(waits[0] < 500);
    assert.ok(waits.length >= 6);
    assert.ok(waits.every((wait) => wait <= 2_000));
  });

  test("starts low again only after 30 s of stability", async () => {
    const waits = session.watchWaits();
    await session.opened();
    runtime.chances(0.999, 0.999, 0.999);
    network.server.cut();
    await runtime.advance(499);
    network.server.ready();
    await runtime.advance(10_000);
    network.server.cut();
    await runtime.advance(999);
    network.server.ready();
    network.server.send({ type: "ping", data: {} });
    await runtime.advance(20_000);
    network.server.send({ type: "ping", data: {} });
    await runtime.advance(10_001);
    network.server.cut();

    assert.deepEqual(waits, [499, 999, 499]);
  });

  for (const code of [1001, 1006, 1011, 1012, 4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4499]) {
    test(`comes back after a close with ${code}`, async () => {
      await session.opened();
      network.server.close(code);
      await runtime.advance(9_000);

      assert.equal(network.attempts, 2);
    });
  }

  for (const code of [4500, 4501, 4502, 4503, 4504, 4505, 4506, 4999]) {
    test(`does not come back after a close with ${code}`, async () => {
      await session.opened();
      network.server.close(code, "why");
      await runtime.advance(60_000);

      assert.equal(network.attempts, 1);
      assert.equal(connection.state, "closed");
      assert.deepEqual(heard.filter(([name]) => name === "closed").map(([, detail]) => [detail.code, detail.reason]), [[code, "why"]]);
      assert.equal(runtime.timers, 0);
    });
  }

  test("asks for a new token after the old one ran out", async () => {
    await session.opened();
    network.server.close(4005);
    await runtime.advance(1_000);

    assert.deepEqual(tokens, ["connect", "expired"]);
    assert.equal(network.server.received[0].data.token, "token-2");
  });

  test("ends when the token provider says that there is none to be had", async () => {
    connection = session.makeConnection(() => Promise.reject(new MinuetError("unauthenticated")));

    await assert.rejects(connection.open(), { code: "unauthenticated" });
    assert.equal(network.attempts, 0);
  });

  test("goes on when the token provider fails for the moment", async () => {
    let asked = 0;
    connection = session.makeConnection(() => ((asked += 1) < 3 ? Promise.reject(new MinuetError("network", "", { retryable: true })) : "token"));
    connection.open();
    await runtime.advance(5_000);

    assert.equal(asked, 3);
    assert.equal(network.attempts, 1);
  });

  test("waits as long as a draining server asked, from when it asked", async () => {
    await session.opened();
    network.server.say("session.drain", { reconnect_after_ms: 7_000 });
    await runtime.advance(3_000);
    network.server.close(4001);
    await runtime.advance(3_999);
    assert.equal(network.attempts, 1);
    await runtime.advance(1);

    assert.equal(network.attempts, 2);
  });

  test("leaves a draining server by itself when its time has come", async () => {
    await session.opened();
    network.server.say("session.drain", { reconnect_after_ms: 2_000 });
    await runtime.advance(2_600);

    assert.equal(network.attempts, 2);
    assert.equal(network.server.received[0].type, "session.resume");
  });

  test("does not wait for a drain's turn in a call", async () => {
    await session.opened();
    connection.setUrgent(true);
    network.server.say("session.drain", { reconnect_after_ms: 8_000 });
    await runtime.advance(1_000);
    network.server.close(4001);
    await runtime.advance(500);

    assert.equal(network.attempts, 2);
  });

  test("waits longer where the server said that we were too quick", async () => {
    await session.opened();
    const waits = session.watchWaits();
    runtime.chances(0.999);
    network.server.close(4007);

    assert.deepEqual(waits, [7992]);
  });

  test("waits at least as long as the server's last words asked", async () => {
    const waits = session.watchWaits();
    connection.open().catch(() => {});
    await settle();
    network.server.send({ type: "error", data: { code: "unavailable", message: "", retryable: true, retry_after_ms: 3_000 } });
    network.server.close(4000);

    assert.deepEqual(waits, [3_000]);
    connection.close();
  });

  test("asks for a new token where the server took ours for expired", async () => {
    connection.open().catch(() => {});
    await settle();
    network.server.send({ type: "error", data: { code: "token_expired", message: "", retryable: true } });
    network.server.close(4000);
    await runtime.advance(1_000);

    assert.deepEqual(tokens, ["connect", "expired"]);
    connection.close();
  });

  test("starts anew where the server has ended the session with 1000", async () => {
    await session.opened();
    network.server.close(1000);
    await runtime.advance(1_000);

    assert.equal(network.server.received[0].type, "session.start");
  });

  test("is quicker when the device says that it is online again", async () => {
    await session.opened();
    network.online = false;
    runtime.chances(0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9);
    network.server.cut();
    await runtime.advance(30_000);
    network.online = true;
    const before = network.attempts;
    connection.nudge();
    await settle();

    assert.equal(network.attempts, before + 1);
    assert.equal(network.server.received[0].type, "session.resume");
  });

  test("stops when the application closes, with 1000, and leaves no timer", async () => {
    await session.opened();
    connection.close();
    await runtime.advance(60_000);

    assert.equal(network.server.closedWith.code, 1000);
    assert.equal(network.attempts, 1);
    assert.equal(runtime.timers, 0);
  });
});
