/** What this side says is neither lost nor doubled, whatever the network does. */

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

describe("saying something", () => {
  test("shows it at once, and puts it in its place when it is kept", async () => {
    server.acquaint("c1", { said: [["peer", "hello"]] });
    const conversation = await app.opened();
    const sending = conversation.send("hello you");
    assert.deepEqual(conversation.outgoing.map(({ body, state }) => [body, state]), [["hello you", "sending"]]);
    await sending;

    assert.deepEqual(conversation.outgoing, []);
    assert.deepEqual(spoken(conversation), ["hello", "me: hello you"]);
    assert.equal(conversation.lastMessage.number, 2);
  });

  test("keeps the order though the first has to wait", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    server.next["chat.send"] = [{ code: "rate_limited", retryable: true, retry_after_ms: 3_000 }];
    for (const body of ["one", "two", "three"]) void conversation.send(body);
    await runtime.advance(2_900);
    assert.deepEqual(server.bodies("c1"), []);
    await runtime.advance(200);

    assert.deepEqual(server.bodies("c1"), ["one", "two", "three"]);
    assert.deepEqual(spoken(conversation), ["me: one", "me: two", "me: three"]);
  });

  test("is kept once though the answer is lost with the session", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    server.next["chat.send"] = ["lost"];
    const sending = conversation.send("only once");
    await settle();
    assert.deepEqual(server.bodies("c1"), ["only once"]);
    const clientId = conversation.outgoing[0].clientId;
    await app.comesBack();
    await runtime.advance(1_000);
    await sending;

    assert.deepEqual(server.bodies("c1"), ["only once"]);
    assert.deepEqual(conversation.messages.map(({ clientId: id, body }) => [id, body]), [[clientId, "only once"]]);
  });

  test("goes over REST while the socket is away", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    network.server.cut();
    await conversation.send("by another way");

    assert.deepEqual(server.bodies("c1"), ["by another way"]);
    assert.ok(server.asked.includes("POST /connections/c1/messages"));
  });

  test("waits for the network, and goes out in order when it is back", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    network.online = false;
    network.server.cut();
    void conversation.send("one");
    void conversation.send("two");
    await runtime.advance(30_000);
    assert.deepEqual(server.bodies("c1"), []);
    network.online = true;
    await runtime.advance(40_000);

    assert.deepEqual(server.bodies("c1"), ["one", "two"]);
    assert.deepEqual(conversation.outgoing, []);
  });

  test("that is refused stays to be tried again or forgotten, and holds up nothing", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    const refusal = { code: "payload_too_large", retryable: false };
    server.next["chat.send"] = [refusal, refusal];
    await assert.rejects(conversation.send("too long"), { code: "payload_too_large" });
    await assert.rejects(conversation.send("also too long"), { code: "payload_too_large" });
    await conversation.send("short");
    assert.deepEqual(conversation.outgoing.map(({ body, state }) => [body, state]), [["too long", "failed"], ["also too long", "failed"]]);
    conversation.retry(conversation.outgoing[0].clientId);
    conversation.discard(conversation.outgoing[0].clientId);
    await settle();

    assert.deepEqual(spoken(conversation), ["me: short", "me: too long"]);
    assert.deepEqual(conversation.outgoing, []);
  });

  test("on another device appears here", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    const message = server.keep("c1", "self", "from my phone", "its-own");
    network.server.say("chat.message", { connection_id: "c1", ...message });

    assert.deepEqual(spoken(conversation), ["me: from my phone"]);
    assert.equal(conversation.unread, 0);
  });

  test("is confirmed by being told, before its answer", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    server.next["chat.send"] = ["lost"];
    const sending = conversation.send("hello");
    await settle();
    const kept = server.keep("c1", "self", "hello", conversation.outgoing[0].clientId);
    network.server.say("chat.message", { connection_id: "c1", ...kept });
    await sending;

    assert.deepEqual(conversation.outgoing, []);
    assert.deepEqual(spoken(conversation), ["me: hello"]);
  });
});
