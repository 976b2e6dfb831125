/** What was said in a conversation: complete and in order, however it comes to be known. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { settle } from "./fakes/runtime.mjs";
import { ChatApp, spoken } from "./fixtures/chat-app.mjs";

let app;
let network;
let runtime;
let server;
let chat;

beforeEach(() => {
  app = new ChatApp();
  ({ network, runtime, server, chat } = app);
});

describe("a history", () => {
  test("begins with the latest, and older messages come by pages before them", async () => {
    server.acquaint("c1", { said: Array.from({ length: 70 }, (_, index) => ["peer", String(index + 1)]) });
    const conversation = await app.opened();
    const sizes = [[conversation.messages.length, conversation.hasOlder]];
    await conversation.loadOlder();
    sizes.push([conversation.messages.length, conversation.hasOlder]);
    await conversation.loadOlder();
    await conversation.loadOlder();

    assert.deepEqual([...sizes, [conversation.messages.length, conversation.hasOlder]], [[30, true], [60, true], [70, false]]);
    assert.deepEqual(conversation.messages.map(({ number }) => number), Array.from({ length: 70 }, (_, index) => index + 1));
  });

  test("is loaded once, however often it is opened", async () => {
    server.acquaint("c1", { said: [["peer", "hello"]] });
    const conversation = await app.opened();
    await Promise.all([conversation.open(), conversation.open()]);

    assert.equal(server.asked.filter((path) => path.includes("/messages")).length, 1);
  });

  test("has what is told while it loads", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await app.connected();
    await chat.connections();
    const loading = chat.conversation("c1").open();
    server.says("c1", "two");
    await loading;

    assert.deepEqual(spoken(chat.conversation("c1")), ["one", "two"]);
  });

  test("is filled where a message is missing in between", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await app.opened();
    server.keep("c1", "peer", "two");
    server.keep("c1", "peer", "three");
    server.says("c1", "four");
    await settle();

    assert.deepEqual(spoken(conversation), ["one", "two", "three", "four"]);
  });

  test("tries again to fill what is missing when the first try fails", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await app.opened();
    server.keep("c1", "peer", "two");
    server.next["GET /connections/c1/messages"] = [{ code: "unavailable", retryable: true }];
    server.says("c1", "three");
    await settle();
    assert.deepEqual(spoken(conversation), ["one", "three"]);
    await runtime.advance(2_000);

    assert.deepEqual(spoken(conversation), ["one", "two", "three"]);
  });

  test("takes a message that is told twice once", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    const heard = [];
    conversation.on("message", (message) => heard.push(message.body));
    const message = server.says("c1", "hello");
    network.server.say("chat.message", { connection_id: "c1", ...message, unread: 1 });
    await settle();

    assert.deepEqual(heard, ["hello"]);
    assert.equal(conversation.messages.length, 1);
  });

  test("is brought up to date by a new session", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await app.opened();
    server.keep("c1", "peer", "two");
    server.keep("c1", "peer", "three");
    await app.comesBack();

    assert.deepEqual(spoken(conversation), ["one", "two", "three"]);
  });
});
