/** One session over any number of sockets. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Connection, MinuetError } from "../../minuet/web/sdk/index.js";
import { FakeNetwork } from "./fakes/network.mjs";
import { FakeRuntime, settle } from "./fakes/runtime.mjs";

let network;
let runtime;
let tokens;
let connection;
let heard;

/** The n-th token is `token-n`; `tokens` keeps why each was asked for. */
function getToken(reason) {
  tokens.push(reason);
  return `token-${tokens.length}`;
}

beforeEach(() => {
  network = new FakeNetwork();
  runtime = new FakeRuntime();
  tokens = [];
  heard = [];
  connection = new Connection({
    url: "ws://minuet.test/v1/ws",
    getToken,
    deviceId: "device-1",
    client: { name: "test", version: "1" },
    WebSocket: network.WebSocket,
    runtime,
  });
  for (const name of ["ready", "resumed", "message", "closed", "fault"]) {
    connection.on(name, (detail) => heard.push([name, detail]));
  }
});

async function opened() {
  const opening = connection.open();
  await settle();
  network.server.ready();
  await opening;
}

/** Loses the socket and gets as far as the next handshake. */
async function reconnected() {
  const before = network.endpoints.length;
  network.server.cut();
  await runtime.advance(5_000);
  assert.equal(network.endpoints.length, before + 1);
}

function messages() {
  return heard.filter(([name]) => name === "message").map(([, { type }]) => type);
}

describe("the handshake", () => {
  test("names the subprotocol, and puts the token into the first frame only", async () => {
    await opened();

    assert.deepEqual(network.server.protocols, ["minuet.v1.json"]);
    assert.equal(network.server.url.includes("token"), false);
    assert.deepEqual(network.server.received, [
      { type: "session.start", data: { token: "token-1", device_id: "device-1", client: { name: "test", version: "1" } } },
    ]);
  });

  test("is given up after 10 s without an answer, and tried again", async () => {
    connection.open();
    await runtime.advance(9_999);
    assert.equal(network.attempts, 1);
    await runtime.advance(2_000);

    assert.equal(network.attempts, 2);
    assert.notEqual(network.endpoints[0].closedWith.code, 1000);
  });

  test("does not hear what an abandoned socket still says", async () => {
    connection.open();
    await runtime.advance(11_000);
    network.endpoints[0].ready({ session_id: "late" });
    await settle();

    assert.equal(connection.sessionId, null);
  });

  test("that is refused for good rejects open with the server's code", async () => {
    const opening = connection.open();
    await settle();
    network.server.send({ type: "error", data: { code: "banned", message: "", retryable: false } });
    network.server.close(4503, "banned");

    await assert.rejects(opening, (error) => error instanceof MinuetError && error.code === "banned" && error.details.close_code === 4503);
  });
});

describe("requests", () => {
  test("have rising ids and resolve with the data of their ok", async () => {
    await opened();
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
    await opened();
    const asked = connection.request("queue.join", { intent: "friends" });
    network.server.error(network.server.received.at(-1).id, "rate_limited", { retryable: true, retry_after_ms: 1500 });

    await assert.rejects(asked, { code: "rate_limited", retryable: true, retryAfterMs: 1500 });
  });

  test("reject with a retryable timeout when nobody answers", async () => {
    await opened();
    const asked = connection.request("queue.leave", {}, { timeoutMs: 3_000 });
    asked.catch(() => {});
    await runtime.advance(3_000);

    await assert.rejects(asked, { code: "timeout", retryable: true });
  });

  test("leave no timer behind once they are answered", async () => {
    await opened();
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
    await opened();
    network.server.say("notice", {});
    connection.request("queue.leave").catch(() => {});

    assert.equal(network.server.received.at(-1).ack, 2);
    await runtime.advance(2_000);
    assert.deepEqual(network.server.of("ack"), []);
  });

  test("comes by itself within a second", async () => {
    await opened();
    network.server.say("notice", {});
    await runtime.advance(999);
    assert.deepEqual(network.server.of("ack"), []);
    await runtime.advance(1);

    assert.deepEqual(network.server.of("ack"), [{ type: "ack", ack: 2 }]);
  });

  test("comes after 16 messages however quick they are", async () => {
    await opened();
    for (let message = 0; message < 16; message += 1) network.server.say("notice", {});

    assert.equal(network.server.of("ack").length, 1);
  });

  test("is not asked for by what has no seq", async () => {
    await opened();
    await runtime.advance(2_000);
    const before = network.server.of("ack").length;
    for (let message = 0; message < 40; message += 1) network.server.send({ type: "queue.status", data: {} });
    await runtime.advance(2_000);

    assert.equal(network.server.of("ack").length, before);
  });
});

describe("heartbeat", () => {
  test("answers ping with pong", async () => {
    await opened();
    network.server.send({ type: "ping", data: { server_now: 5 } });

    assert.deepEqual(network.server.received.at(-1), { type: "pong" });
  });

  test("gives up a socket that is silent for longer than a ping could take", async () => {
    await opened();
    await runtime.advance(27_999);
    assert.equal(connection.state, "ready");
    await runtime.advance(1);

    assert.equal(connection.state, "waiting");
    assert.equal(network.server.closedWith.code, 4002);
  });

  test("notices silence sooner in a call", async () => {
    await opened();
    connection.setUrgent(true);
    await runtime.advance(8_999);
    assert.equal(connection.state, "ready");
    await runtime.advance(1);

    assert.equal(connection.state, "waiting");
  });

  test("takes anything for a sign of life", async () => {
    await opened();
    for (let beat = 0; beat < 5; beat += 1) {
      await runtime.advance(20_000);
      network.server.send({ type: "ping", data: {} });
    }

    assert.equal(connection.state, "ready");
    assert.equal(network.attempts, 1);
  });
});

describe("reconnecting", () => {
  test("waits a random time under a ceiling that doubles from 0.5 to 20 s", async () => {
    const waits = [];
    connection.on("state", ({ state, retryInMs }) => state === "waiting" && waits.push(retryInMs));
    network.online = false;
    runtime.chances(...Array(9).fill(0.999));
    connection.open();
    await runtime.advance(120_000);

    assert.deepEqual(waits.slice(0, 8), [499, 999, 1998, 3996, 7992, 15984, 19980, 19980]);
  });

  test("may wait no time at all: the jitter is full", async () => {
    const waits = [];
    connection.on("state", ({ state, retryInMs }) => state === "waiting" && waits.push(retryInMs));
    network.online = false;
    runtime.chances(0, 0.5);
    connection.open();
    await runtime.advance(600);

    assert.deepEqual(waits.slice(0, 2), [0, 500]);
  });

  test("comes within half a second in a call, and never waits above 2 s", async () => {
    await opened();
    connection.setUrgent(true);
    const waits = [];
    connection.on("state", ({ state, retryInMs }) => state === "waiting" && waits.push(retryInMs));
    network.online = false;
    runtime.chances(...Array(9).fill(0.999));
    network.server.cut();
    await runtime.advance(12_000);

    assert.ok(waits[0] < 500);
    assert.ok(waits.length >= 6);
    assert.ok(waits.every((wait) => wait <= 2_000));
  });

  test("starts low again only after 30 s of stability", async () => {
    const waits = [];
    connection.on("state", ({ state, retryInMs }) => state === "waiting" && waits.push(retryInMs));
    await opened();
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
      await opened();
      network.server.close(code);
      await runtime.advance(9_000);

      assert.equal(network.attempts, 2);
    });
  }

  for (const code of [4500, 4501, 4502, 4503, 4504, 4505, 4506, 4999]) {
    test(`does not come back after a close with ${code}`, async () => {
      await opened();
      network.server.close(code, "why");
      await runtime.advance(60_000);

      assert.equal(network.attempts, 1);
      assert.equal(connection.state, "closed");
      assert.deepEqual(heard.filter(([name]) => name === "closed").map(([, detail]) => [detail.code, detail.reason]), [[code, "why"]]);
      assert.equal(runtime.timers, 0);
    });
  }

  test("asks for a new token after the old one ran out", async () => {
    await opened();
    network.server.close(4005);
    await runtime.advance(1_000);

    assert.deepEqual(tokens, ["connect", "expired"]);
    assert.equal(network.server.received[0].data.token, "token-2");
  });

  test("ends when the token provider says that there is none to be had", async () => {
    connection = new Connection({
      url: "ws://minuet.test/v1/ws",
      getToken: () => Promise.reject(new MinuetError("unauthenticated")),
      deviceId: "d",
      client: { name: "t", version: "1" },
      WebSocket: network.WebSocket,
      runtime,
    });

    await assert.rejects(connection.open(), { code: "unauthenticated" });
    assert.equal(network.attempts, 0);
  });

  test("goes on when the token provider fails for the moment", async () => {
    let asked = 0;
    connection = new Connection({
      url: "ws://minuet.test/v1/ws",
      getToken: () => ((asked += 1) < 3 ? Promise.reject(new MinuetError("network", "", { retryable: true })) : "token"),
      deviceId: "d",
      client: { name: "t", version: "1" },
      WebSocket: network.WebSocket,
      runtime,
    });
    connection.open();
    await runtime.advance(5_000);

    assert.equal(asked, 3);
    assert.equal(network.attempts, 1);
  });

  test("waits as long as a draining server asked, from when it asked", async () => {
    await opened();
    network.server.say("session.drain", { reconnect_after_ms: 7_000 });
    await runtime.advance(3_000);
    network.server.close(4001);
    await runtime.advance(3_999);
    assert.equal(network.attempts, 1);
    await runtime.advance(1);

    assert.equal(network.attempts, 2);
  });

  test("leaves a draining server by itself when its time has come", async () => {
    await opened();
    network.server.say("session.drain", { reconnect_after_ms: 2_000 });
    await runtime.advance(2_600);

    assert.equal(network.attempts, 2);
    assert.equal(network.server.received[0].type, "session.resume");
  });

  test("does not wait for a drain's turn in a call", async () => {
    await opened();
    connection.setUrgent(true);
    network.server.say("session.drain", { reconnect_after_ms: 8_000 });
    await runtime.advance(1_000);
    network.server.close(4001);
    await runtime.advance(500);

    assert.equal(network.attempts, 2);
  });

  test("waits longer where the server said that we were too quick", async () => {
    await opened();
    const waits = [];
    connection.on("state", ({ state, retryInMs }) => state === "waiting" && waits.push(retryInMs));
    runtime.chances(0.999);
    network.server.close(4007);

    assert.deepEqual(waits, [7992]);
  });

  test("waits at least as long as the server's last words asked", async () => {
    const waits = [];
    connection.on("state", ({ state, retryInMs }) => state === "waiting" && waits.push(retryInMs));
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
    await opened();
    network.server.close(1000);
    await runtime.advance(1_000);

    assert.equal(network.server.received[0].type, "session.start");
  });

  test("is quicker when the device says that it is online again", async () => {
    await opened();
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
    await opened();
    connection.close();
    await runtime.advance(60_000);

    assert.equal(network.server.closedWith.code, 1000);
    assert.equal(network.attempts, 1);
    assert.equal(runtime.timers, 0);
  });
});

describe("a token that is about to run out", () => {
  test("is renewed on the live connection", async () => {
    await opened();
    network.server.say("session.expiring", { token_expires_at: 1 });
    await settle();
    const [refresh] = network.server.of("session.refresh");
    network.server.ok(refresh.id);

    assert.deepEqual(tokens, ["connect", "expiring"]);
    assert.deepEqual(refresh.data, { token: "token-2" });
  });
});

describe("resuming", () => {
  test("says where it was, and takes the replay once and in order", async () => {
    await opened();
    network.server.say("notice", { n: 1 });
    network.server.say("match.found", { n: 2 });
    await reconnected();
    const [resume] = network.server.received;
    network.server.send({ type: "session.resumed", data: { session_id: "s-1", replay_from: 3, last_id: 0 } });
    network.server.continueFrom(3);
    network.server.say("match.found", { n: 2 });
    network.server.say("call.state", { n: 3 });
    network.server.say("call.ended", { n: 4 });

    assert.equal(resume.type, "session.resume");
    assert.deepEqual(resume.data, { token: "token-2", session_id: "s-1", last_seq: 3, device_id: "device-1", client: { name: "test", version: "1" } });
    assert.deepEqual(messages(), ["notice", "match.found", "call.state", "call.ended"]);
  });

  test("sends again what was not handled, and nothing that was", async () => {
    await opened();
    const handled = connection.request("queue.join", { intent: "friends" });
    const lost = connection.request("queue.leave");
    const [one, two] = network.server.received.slice(1);
    await reconnected();
    network.server.send({ type: "session.resumed", data: { session_id: "s-1", replay_from: 1, last_id: one.id } });
    network.server.continueFrom(2);
    network.server.ok(one.id, { ticket: "t" });
    network.server.ok(two.id);

    assert.deepEqual(network.server.received.slice(1).map(({ type, id }) => [type, id]), [["queue.leave", two.id]]);
    assert.deepEqual(await handled, { ticket: "t" });
    await lost;
  });

  test("sends what was asked while the connection was away", async () => {
    await opened();
    network.server.cut();
    const asked = connection.request("call.hangup", { call_id: "c" });
    await runtime.advance(1_000);
    network.server.send({ type: "session.resumed", data: { session_id: "s-1", replay_from: 1, last_id: 0 } });
    const [hangup] = network.server.of("call.hangup");
    network.server.continueFrom(2);
    network.server.ok(hangup.id);

    await asked;
  });

  test("that fails gives a new session and rejects what was open, retryably", async () => {
    await opened();
    const asked = connection.request("queue.join", { intent: "friends" });
    asked.catch(() => {});
    await reconnected();
    network.server.ready({ session_id: "s-2" });

    await assert.rejects(asked, { code: "disconnected", retryable: true });
    assert.equal(connection.sessionId, "s-2");
    assert.deepEqual(network.server.of("queue.join"), []);
    assert.equal(heard.filter(([name]) => name === "ready").length, 2);
  });

  test("keeps ids rising in the new session too", async () => {
    await opened();
    connection.request("queue.leave").catch(() => {});
    const before = network.server.received.at(-1).id;
    await reconnected();
    network.server.ready({ session_id: "s-2" });
    connection.request("queue.leave").catch(() => {});

    assert.ok(network.server.received.at(-1).id > before);
  });

  test("is not tried after a gap: what is missing can only come with a snapshot", async () => {
    await opened();
    network.server.continueFrom(9);
    network.server.say("notice", {});
    await runtime.advance(1_000);

    assert.deepEqual(messages(), []);
    assert.equal(network.attempts, 2);
    assert.equal(network.server.received[0].type, "session.start");
  });

  test("is not tried after the server asked for a resync", async () => {
    await opened();
    const asked = connection.request("queue.leave");
    network.server.close(4006);
    await assert.rejects(asked, { code: "disconnected" });
    await runtime.advance(1_000);

    assert.equal(network.server.received[0].type, "session.start");
  });
});

describe("the server's time", () => {
  test("is taken from the sample that was least late", async () => {
    await opened();
    const now = runtime.now();
    network.server.say("notice", { server_now: now + 4_900 });
    network.server.say("notice", { server_now: now + 5_000 });
    network.server.say("notice", { server_now: now - 60_000 });

    assert.equal(connection.clock.now(), now + 5_000);
    assert.equal(connection.clock.until(now + 6_000), 1_000);
    assert.equal(connection.clock.until(now), 0);
  });

  test("follows within a few messages when the device's own clock is set", async () => {
    await opened();
    const server = runtime.now();
    network.server.say("notice", { server_now: server });
    await runtime.advance(1_000);
    // The device's clock jumps an hour ahead: by it, the server is an hour behind.
    for (let message = 0; message < 8; message += 1) network.server.say("notice", { server_now: runtime.now() - 3_600_000 });

    assert.equal(connection.clock.now(), runtime.now() - 3_600_000);
  });
});
