/** What is asked of the server, and what is acknowledged to it. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { settle } from "./fakes/runtime.mjs";
import { Session } from "./fixtures/session.mjs";

let session;
let network;
let runtime;
let connection;

beforeEach(() => {
  session = new Session();
  ({ network, runtime, connection } = session);
});

describe("requests", () => {
  test("have rising ids and resolve with the data of their ok", async () => {
    await session.opened();
    const first = connection.request("queue.join", { intent: "friends" });
    const second = connection.request("queue.leave");
    const [one, two] = network.server.received.slice(1);
    network.server.ok(two.id, { left: true });
    network.server.ok(one.id, { ticket: "t" });

    assert.ok(two.id > one.id);
    assert.deepEqual(one.data, { intent: "friends" });
    assert.deepEqual(await first, { ticket: "t" });
    assert.deepEqual(await second, { left: true });
  });

  test("reject with code, retryability and delay of their error", async () => {
    await session.opened();
    const asked = connection.request("queue.join", { intent: "friends" });
    network.server.error(network.server.received.at(-1).id, "rate_limited", { retryable: true, retry_after_ms: 1500 });

    await assert.rejects(asked, { code: "rate_limited", retryable: true, retryAfterMs: 1500 });
  });

  test("reject with a retryable timeout when nobody answers", async () => {
    await session.opened();
    const asked = connection.request("queue.leave", {}, { timeoutMs: 3_000 });
    asked.catch(() => {});
    await runtime.advance(3_000);

    await assert.rejects(asked, { code: "timeout", retryable: true });
  });

  test("leave no timer behind once they are answered", async () => {
    await session.opened();
    const before = runtime.timers;
    const asked = connection.request("queue.leave");
    assert.equal(runtime.timers, before + 1);
    network.server.send({ type: "ok", id: network.server.received.at(-1).id });
    await asked;

    assert.equal(runtime.timers, before);
  });

  test("made before the first session wait for it", async () => {
    connection.open();
    const asked = connection.request("queue.leave");
    await settle();
    assert.deepEqual(network.server.of("queue.leave"), []);
    network.server.ready();
    network.server.ok(network.server.of("queue.leave")[0].id);

    await asked;
  });

  test("are refused when too many wait, rather than kept without end", async () => {
    connection.open().catch(() => {});
    const asked = Array.from({ length: 65 }, () => connection.request("queue.leave"));
    for (const one of asked) one.catch(() => {});

    await assert.rejects(asked.at(-1), { code: "overloaded", retryable: true });
    connection.close();
  });

  test("arrive in the order of their ids, also those asked the moment the session is ready", async () => {
    connection.on("state", ({ state }) => state === "ready" && connection.request("queue.leave").catch(() => {}));
    connection.on("ready", () => connection.request("queue.leave").catch(() => {}));
    connection.open();
    connection.request("queue.join").catch(() => {});
    await settle();
    network.server.ready();

    const ids = network.server.received.filter(({ id }) => id !== undefined).map(({ id }) => id);
    assert.deepEqual(ids, [...ids].sort((one, other) => one - other));
    assert.equal(new Set(ids).size, ids.length);
  });
});

describe("acknowledging", () => {
  test("rides on a request where there is one", async () => {
    await session.opened();
    network.server.say("notice", {});
    connection.request("queue.leave").catch(() => {});

    assert.equal(network.server.received.at(-1).ack, 2);
    await runtime.advance(2_000);
    assert.deepEqual(network.server.of("ack"), []);
  });

  test("comes by itself within a second", async () => {
    await session.opened();
    network.server.say("notice", {});
    await runtime.advance(999);
    assert.deepEqual(network.server.of("ack"), []);
    await runtime.advance(1);

    assert.deepEqual(network.server.of("ack"), [{ type: "ack", ack: 2 }]);
  });

  test("comes after 16 messages however quick they are", async () => {
    await session.opened();
    for (let message = 0; message < 16; message += 1) network.server.say("notice", {});

    assert.equal(network.server.of("ack").length, 1);
  });

  test("is not asked for by what has no seq", async () => {
    await session.opened();
    await runtime.advance(2_000);
    const before = network.server.of("ack").length;
    for (let message = 0; message < 40; message += 1) network.server.send({ type: "queue.status", data: {} });
    await runtime.advance(2_000);

    assert.equal(network.server.of("ack").length, before);
  });
});
