/** One session over any number of sockets. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Session } from "./fixtures/session.mjs";

let session;
let network;
let runtime;
let connection;
let heard;

beforeEach(() => {
  session = new Session();
  ({ network, runtime, connection, heard } = session);
});

describe("resuming", () => {
  test("says where it was, and takes the replay once and in order", async () => {
    await session.opened();
    network.server.say("notice", { n: 1 });
    network.server.say("match.found", { n: 2 });
    await session.reconnected();
    const [resume] = network.server.received;
    network.server.send({ type: "session.resumed", data: { session_id: "s-1", replay_from: 3, last_id: 0 } });
    network.server.continueFrom(3);
    network.server.say("match.found", { n: 2 });
    network.server.say("call.state", { n: 3 });
    network.server.say("call.ended", { n: 4 });

    assert.equal(resume.type, "session.resume");
    assert.deepEqual(resume.data, { token: "token-2", session_id: "s-1", last_seq: 3, device_id: "device-1", client: { name: "test", version: "1" } });
    assert.deepEqual(session.messages, ["notice", "match.found", "call.state", "call.ended"]);
  });

  test("sends again what was not handled, and nothing that was", async () => {
    await session.opened();
    const handled = connection.request("queue.join", { intent: "friends" });
    const lost = connection.request("queue.leave");
    const [one, two] = network.server.received.slice(1);
    await session.reconnected();
    network.server.send({ type: "session.resumed", data: { session_id: "s-1", replay_from: 1, last_id: one.id } });
    network.server.continueFrom(2);
    network.server.ok(one.id, { ticket: "t" });
    network.server.ok(two.id);

    assert.deepEqual(network.server.received.slice(1).map(({ type, id }) => [type, id]), [["queue.leave", two.id]]);
    assert.deepEqual(await handled, { ticket: "t" });
    await lost;
  });

  test("sends what was asked while the connection was away", async () => {
    await session.opened();
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
    await session.opened();
    const asked = connection.request("queue.join", { intent: "friends" });
    asked.catch(() => {});
    await session.reconnected();
    network.server.ready({ session_id: "s-2" });

    await assert.rejects(asked, { code: "disconnected", retryable: true });
    assert.equal(connection.sessionId, "s-2");
    assert.deepEqual(network.server.of("queue.join"), []);
    assert.equal(heard.filter(([name]) => name === "ready").length, 2);
  });

  test("keeps ids rising in the new session too", async () => {
    await session.opened();
    connection.request("queue.leave").catch(() => {});
    const before = network.server.received.at(-1).id;
    await session.reconnected();
    network.server.ready({ session_id: "s-2" });
    connection.request("queue.leave").catch(() => {});

    assert.ok(network.server.received.at(-1).id > before);
  });

  test("is not tried after a gap: what is missing can only come with a snapshot", async () => {
    await session.opened();
    network.server.continueFrom(9);
    network.server.say("notice", {});
    await runtime.advance(1_000);

    assert.deepEqual(session.messages, []);
    assert.equal(network.attempts, 2);
    assert.equal(network.server.received[0].type, "session.start");
  });

  test("is not tried after the server asked for a resync", async () => {
    await session.opened();
    const asked = connection.request("queue.leave");
    network.server.close(4006);
    await assert.rejects(asked, { code: "disconnected" });
    await runtime.advance(1_000);

    assert.equal(network.server.received[0].type, "session.start");
  });
});
