/** Who is there, who is away and who is typing. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { LEO } from "./fakes/people.mjs";
import { ChatApp } from "./fixtures/chat-app.mjs";

let app;
let network;
let runtime;
let server;
let client;
let chat;

beforeEach(() => {
  app = new ChatApp();
  ({ network, runtime, server, client, chat } = app);
});

describe("presence", () => {
  test("of everybody is watched, of those to come too, and again in a new session", async () => {
    server.acquaint("c1");
    server.acquaint("c2");
    await app.connected();
    await chat.connections();
    chat.watch();
    network.server.say("connection.made", { call_id: "k", connection_id: "c3", peer: LEO });
    const watched = () => network.server.of("presence.watch").map(({ data }) => data.connection_ids);
    assert.deepEqual(watched(), [["c1", "c2"], ["c3"]]);
    server.acquaint("c3");
    await app.comesBack();

    assert.deepEqual(watched(), [["c1", "c2", "c3"]]);
  });

  test("is what the server said last", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    network.server.send({ type: "presence.update", data: { connection_id: "c1", presence: "online" } });
    assert.equal(conversation.presence, "online");
    network.server.send({ type: "presence.update", data: { connection_id: "c1", presence: "offline" } });

    assert.equal(conversation.presence, "offline");
  });

  test("of nobody is watched any more", async () => {
    server.acquaint("c1");
    await app.connected();
    await chat.connections();
    chat.watch(["c1"]);
    chat.unwatch();
    await app.comesBack();

    assert.equal(network.endpoints[0].of("presence.unwatch").length, 1);
    assert.deepEqual(network.server.of("presence.watch"), []);
  });
});

describe("being away", () => {
  test("is said, and said again to a session that does not know", async () => {
    await app.connected();
    const saying = client.setAway(true);
    await saying;
    assert.equal(client.away, true);
    await app.comesBack({ presence: "idle" });

    assert.deepEqual(network.server.of("presence.set").map(({ data }) => data), [{ away: true }]);
  });

  test("is known from the snapshot", async () => {
    await app.connected({ presence: "away" });

    assert.equal(client.away, true);
    assert.deepEqual(network.server.of("presence.set"), []);
  });
});

describe("typing", () => {
  test("is told at most every three seconds, and not while the socket is away", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    const told = () => network.endpoints.flatMap((endpoint) => endpoint.of("chat.typing"));
    for (let key = 0; key < 5; key += 1) conversation.typing();
    await runtime.advance(2_900);
    conversation.typing();
    assert.equal(told().length, 1);
    await runtime.advance(200);
    conversation.typing();
    assert.equal(told().length, 2);
    assert.deepEqual(told()[0], { type: "chat.typing", data: { connection_id: "c1" }, ...(told()[0].ack && { ack: told()[0].ack }) });
    network.server.cut();
    await runtime.advance(0);
    conversation.typing();

    assert.equal(told().length, 2);
  });

  test("of the other side is believed for five seconds, or until something is said", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    const seen = [];
    const types = () => network.server.send({ type: "chat.typing", data: { connection_id: "c1", from: "peer" } });
    types();
    seen.push(conversation.peerTyping);
    await runtime.advance(5_000);
    seen.push(conversation.peerTyping);
    types();
    server.says("c1", "there");
    seen.push(conversation.peerTyping);

    assert.deepEqual(seen, [true, false, false]);
  });
});
