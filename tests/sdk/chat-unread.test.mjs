/** What is unread, and what has been read, on both sides and every device. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { settle } from "./fakes/runtime.mjs";
import { ChatApp } from "./fixtures/chat-app.mjs";

let app;
let network;
let server;
let chat;

beforeEach(() => {
  app = new ChatApp();
  ({ network, server, chat } = app);
});

describe("what is unread", () => {
  test("comes with the snapshot, before anybody is listed", async () => {
    await app.connected({ unread: { c1: 2, c2: 3 } });

    assert.equal(chat.unread, 5);
  });

  test("is counted once, though snapshot and list both know it", async () => {
    server.acquaint("c1", { said: [["peer", "one"], ["peer", "two"]] });
    await app.connected({ unread: { c1: 2 } });
    await chat.connections();

    assert.equal(chat.unread, 2);
  });

  test("is asked for where the snapshot does not know it", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await app.connected({ unread: null });

    assert.equal(chat.unread, 1);
  });

  test("rises with what is said, also by somebody not listed yet", async () => {
    await app.connected({ unread: {} });
    await chat.connections();
    server.acquaint("c9");
    server.says("c9", "it is me");
    await settle();

    assert.equal(chat.unread, 1);
    assert.equal(chat.conversation("c9").lastMessage.body, "it is me");
  });

  test("follows a new session's snapshot", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await app.connected();
    await chat.connections();
    server.keep("c1", "peer", "two");
    await app.comesBack({ unread: { c1: 2 } });

    assert.equal(chat.unread, 2);
  });
});

describe("reading", () => {
  test("counts at once here, and is said once", async () => {
    server.acquaint("c1", { said: [["peer", "one"], ["peer", "two"]] });
    const conversation = await app.opened();
    conversation.markRead();
    assert.equal(chat.unread, 0);
    conversation.markRead();
    await settle();

    assert.deepEqual(network.server.of("chat.read").map(({ data }) => data), [{ connection_id: "c1", up_to: 2 }]);
    assert.equal(server.unread("c1"), 0);
  });

  test("of nothing that was loaded is no reading", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await app.connected();
    await chat.connections();
    chat.conversation("c1").markRead();
    await settle();

    assert.equal(chat.unread, 1);
    assert.deepEqual(network.server.of("chat.read"), []);
  });

  test("that the server does not know of yet is not undone by the list", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await app.opened();
    server.next["chat.read"] = [{ code: "unavailable", retryable: true }];
    conversation.markRead();
    await settle();
    await chat.connections();

    assert.equal(conversation.unread, 0);
  });

  test("is said again by whoever could not say it, and no older count undoes it", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await app.opened();
    server.next["chat.read"] = [{ code: "unavailable", retryable: true }];
    conversation.markRead();
    await settle();
    await app.comesBack({ unread: { c1: 1 } });
    await settle();

    assert.equal(conversation.unread, 0);
    assert.equal(server.unread("c1"), 0);
  });

  test("by the other side marks what we said", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    await conversation.send("hello");
    network.server.say("chat.read", { connection_id: "c1", by: "peer", up_to: 1 });

    assert.equal(conversation.peerReadUpTo, 1);
  });

  test("on another device counts here", async () => {
    server.acquaint("c1", { said: [["peer", "one"], ["peer", "two"]] });
    const conversation = await app.opened();
    network.server.say("chat.read", { connection_id: "c1", by: "self", up_to: 1, unread: 1 });

    assert.deepEqual([conversation.unread, conversation.readUpTo], [1, 1]);
  });
});
