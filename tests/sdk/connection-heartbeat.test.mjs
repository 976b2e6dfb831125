/** How a connection knows that the other end is there, and what time it is there. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Session } from "./fixtures/session.mjs";

let session;
let network;
let runtime;
let connection;

beforeEach(() => {
  session = new Session();
  ({ network, runtime, connection } = session);
});

describe("heartbeat", () => {
  test("answers ping with pong", async () => {
    await session.opened();
    network.server.send({ type: "ping", data: { server_now: 5 } });

    assert.deepEqual(network.server.received.at(-1), { type: "pong" });
  });

  test("gives up a socket that is silent for longer than a ping could take", async () => {
    await session.opened();
    await runtime.advance(27_999);
    assert.equal(connection.state, "ready");
    await runtime.advance(1);

    assert.equal(connection.state, "waiting");
    assert.equal(network.server.closedWith.code, 4002);
  });

  test("notices silence sooner in a call", async () => {
    await session.opened();
    connection.setUrgent(true);
    await runtime.advance(8_999);
    assert.equal(connection.state, "ready");
    await runtime.advance(1);

    assert.equal(connection.state, "waiting");
  });

  test("takes anything for a sign of life", async () => {
    await session.opened();
    for (let beat = 0; beat < 5; beat += 1) {
      await runtime.advance(20_000);
      network.server.send({ type: "ping", data: {} });
    }

    assert.equal(connection.state, "ready");
    assert.equal(network.attempts, 1);
  });
});

describe("the server's time", () => {
  test("is taken from the sample that was least late", async () => {
    await session.opened();
    const now = runtime.now();
    network.server.say("notice", { server_now: now + 4_900 });
    network.server.say("notice", { server_now: now + 5_000 });
    network.server.say("notice", { server_now: now - 60_000 });

    assert.equal(connection.clock.now(), now + 5_000);
    assert.equal(connection.clock.until(now + 6_000), 1_000);
    assert.equal(connection.clock.until(now), 0);
  });

  test("follows within a few messages when the device's own clock is set", async () => {
    await session.opened();
    const server = runtime.now();
    network.server.say("notice", { server_now: server });
    await runtime.advance(1_000);
    // The device's clock jumps an hour ahead: by it, the server is an hour behind.
    for (let message = 0; message < 8; message += 1) network.server.say("notice", { server_now: runtime.now() - 3_600_000 });

    assert.equal(connection.clock.now(), runtime.now() - 3_600_000);
  });
});
