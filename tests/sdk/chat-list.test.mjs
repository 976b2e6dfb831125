/** Whom a user stays in touch with, as an app sees it. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { LEO } from "./fakes/people.mjs";
import { ChatApp } from "./fixtures/chat-app.mjs";

let app;
let network;
let runtime;
let server;
let chat;

beforeEach(() => {
  app = new ChatApp();
  ({ network, runtime, server, chat } = app);
});

describe("the list", () => {
  test("has whom one stays in touch with, the most recently active first", async () => {
    server.acquaint("c1", { said: [["peer", "hello"]], presence: "online" });
    server.acquaint("c2", { madeAt: runtime.now() + 60_000, peer: { ...LEO, first_name: "Omar" } });
    await app.connected();
    const { conversations, next } = await chat.connections();

    assert.equal(conversations.length, 2);
    assert.equal(next, null);
    assert.deepEqual(chat.conversations.map(({ peer }) => peer.first_name), ["Omar", "Leo"]);
    assert.deepEqual([chat.conversation("c1").presence, chat.conversation("c1").unread, chat.conversation("c1").lastMessage.body], ["online", 1, "hello"]);
  });

  test("comes in pages", async () => {
    for (let number = 1; number <= 5; number += 1) server.acquaint(`c${number}`);
    await app.connected();
    const first = await chat.connections({ limit: 3 });
    const second = await chat.connections({ limit: 3, cursor: first.next });

    assert.deepEqual([first, second].map(({ conversations }) => conversations.map(({ id }) => id)), [["c1", "c2", "c3"], ["c4", "c5"]]);
    assert.equal(second.next, null);
    assert.equal(chat.conversations.length, 5);
  });

  test("forgets whom the server no longer knows", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    await conversation.block().catch(assert.fail);
    server.acquaint("c2");
    await chat.connections();

    assert.deepEqual(chat.conversations.map(({ id }) => id), ["c2"]);
  });

  test("keeps who was met while it was on its way", async () => {
    await app.connected();
    const listing = chat.connections();
    network.server.say("connection.made", { call_id: "k", connection_id: "c1", peer: LEO });
    await listing;

    assert.equal(chat.conversation("c1")?.ended, false);
  });

  test("grows by a connection that is made", async () => {
    await app.connected();
    network.server.say("connection.made", { call_id: "k", connection_id: "c1", peer: LEO });

    assert.equal(chat.conversation("c1").peer.first_name, "Leo");
    assert.equal(chat.unread, 0);
  });

  test("asks REST with the token of another issuer, where there is no account", async () => {
    await app.connected();
    await chat.connections();

    assert.equal(server.authorization, "Bearer token for connect");
  });
});
