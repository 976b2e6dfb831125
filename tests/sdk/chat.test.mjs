/** Chat as an app sees it: nothing said is lost, doubled or out of order, whatever the network does. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { LocalMedia, MinuetClient } from "../../minuet/web/sdk/index.js";
import { FakeChatServer, LEO } from "./fakes/chat-server.mjs";
import { FakeNetwork } from "./fakes/network.mjs";
import { FakeRuntime, settle } from "./fakes/runtime.mjs";

const MINE = (message) => (message.mine ? `me: ${message.body}` : message.body);

let network;
let runtime;
let server;
let client;
let chat;

beforeEach(() => {
  network = new FakeNetwork();
  runtime = new FakeRuntime();
  server = new FakeChatServer(network, runtime);
  client = new MinuetClient({
    baseUrl: "https://minuet.test/",
    getToken: (reason) => `token for ${reason}`,
    deviceId: "device-1",
    media: new LocalMedia(),
    WebSocket: network.WebSocket,
    fetch: server.fetch,
    runtime,
  });
  chat = client.chat;
});

async function connected(snapshot = {}) {
  const connecting = client.connect();
  await settle();
  network.server.ready({ snapshot: { ticket: null, call: null, ...snapshot } });
  await connecting;
  await settle();
}

async function opened(id = "c1") {
  await connected();
  await chat.connections();
  const conversation = chat.conversation(id);
  await conversation.open();
  return conversation;
}

/** The session is gone: a new one begins. */
async function comesBack(snapshot = {}) {
  network.server.cut();
  await runtime.advance(500);
  network.server.ready({ session_id: "s-2", snapshot: { ticket: null, call: null, ...snapshot } });
  await settle();
}

describe("the list", () => {
  test("has whom one stays in touch with, the most recently active first", async () => {
    server.acquaint("c1", { said: [["peer", "hello"]], presence: "online" });
    server.acquaint("c2", { madeAt: runtime.now() + 60_000, peer: { ...LEO, first_name: "Omar" } });
    await connected();
    const { conversations, next } = await chat.connections();

    assert.equal(conversations.length, 2);
    assert.equal(next, null);
    assert.deepEqual(chat.conversations.map(({ peer }) => peer.first_name), ["Omar", "Leo"]);
    assert.deepEqual([chat.conversation("c1").presence, chat.conversation("c1").unread, chat.conversation("c1").lastMessage.body], ["online", 1, "hello"]);
  });

  test("comes in pages", async () => {
    for (let number = 1; number <= 5; number += 1) server.acquaint(`c${number}`);
    await connected();
    const first = await chat.connections({ limit: 3 });
    const second = await chat.connections({ limit: 3, cursor: first.next });

    assert.deepEqual([first, second].map(({ conversations }) => conversations.map(({ id }) => id)), [["c1", "c2", "c3"], ["c4", "c5"]]);
    assert.equal(second.next, null);
    assert.equal(chat.conversations.length, 5);
  });

  test("forgets whom the server no longer knows", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    await conversation.block().catch(assert.fail);
    server.acquaint("c2");
    await chat.connections();

    assert.deepEqual(chat.conversations.map(({ id }) => id), ["c2"]);
  });

  test("keeps who was met while it was on its way", async () => {
    await connected();
    const listing = chat.connections();
    network.server.say("connection.made", { call_id: "k", connection_id: "c1", peer: LEO });
    await listing;

    assert.equal(chat.conversation("c1")?.ended, false);
  });

  test("grows by a connection that is made", async () => {
    await connected();
    network.server.say("connection.made", { call_id: "k", connection_id: "c1", peer: LEO });

    assert.equal(chat.conversation("c1").peer.first_name, "Leo");
    assert.equal(chat.unread, 0);
  });

  test("asks REST with the token of another issuer, where there is no account", async () => {
    await connected();
    await chat.connections();

    assert.equal(server.authorization, "Bearer token for connect");
  });
});

describe("what is unread", () => {
  test("comes with the snapshot, before anybody is listed", async () => {
    await connected({ unread: { c1: 2, c2: 3 } });

    assert.equal(chat.unread, 5);
  });

  test("is counted once, though snapshot and list both know it", async () => {
    server.acquaint("c1", { said: [["peer", "one"], ["peer", "two"]] });
    await connected({ unread: { c1: 2 } });
    await chat.connections();

    assert.equal(chat.unread, 2);
  });

  test("is asked for where the snapshot does not know it", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await connected({ unread: null });

    assert.equal(chat.unread, 1);
  });

  test("rises with what is said, also by somebody not listed yet", async () => {
    await connected({ unread: {} });
    await chat.connections();
    server.acquaint("c9");
    server.says("c9", "it is me");
    await settle();

    assert.equal(chat.unread, 1);
    assert.equal(chat.conversation("c9").lastMessage.body, "it is me");
  });

  test("follows a new session's snapshot", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await connected();
    await chat.connections();
    server.keep("c1", "peer", "two");
    await comesBack({ unread: { c1: 2 } });

    assert.equal(chat.unread, 2);
  });
});

describe("a history", () => {
  test("begins with the latest, and older messages come by pages before them", async () => {
    server.acquaint("c1", { said: Array.from({ length: 70 }, (_, index) => ["peer", String(index + 1)]) });
    const conversation = await opened();
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
    const conversation = await opened();
    await Promise.all([conversation.open(), conversation.open()]);

    assert.equal(server.asked.filter((path) => path.includes("/messages")).length, 1);
  });

  test("has what is told while it loads", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await connected();
    await chat.connections();
    const loading = chat.conversation("c1").open();
    server.says("c1", "two");
    await loading;

    assert.deepEqual(chat.conversation("c1").messages.map(MINE), ["one", "two"]);
  });

  test("is filled where a message is missing in between", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await opened();
    server.keep("c1", "peer", "two");
    server.keep("c1", "peer", "three");
    server.says("c1", "four");
    await settle();

    assert.deepEqual(conversation.messages.map(MINE), ["one", "two", "three", "four"]);
  });

  test("tries again to fill what is missing when the first try fails", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await opened();
    server.keep("c1", "peer", "two");
    server.next["GET /connections/c1/messages"] = [{ code: "unavailable", retryable: true }];
    server.says("c1", "three");
    await settle();
    assert.deepEqual(conversation.messages.map(MINE), ["one", "three"]);
    await runtime.advance(2_000);

    assert.deepEqual(conversation.messages.map(MINE), ["one", "two", "three"]);
  });

  test("takes a message that is told twice once", async () => {
    server.acquaint("c1");
    const conversation = await opened();
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
    const conversation = await opened();
    server.keep("c1", "peer", "two");
    server.keep("c1", "peer", "three");
    await comesBack();

    assert.deepEqual(conversation.messages.map(MINE), ["one", "two", "three"]);
  });
});

describe("saying something", () => {
  test("shows it at once, and puts it in its place when it is kept", async () => {
    server.acquaint("c1", { said: [["peer", "hello"]] });
    const conversation = await opened();
    const sending = conversation.send("hello you");
    assert.deepEqual(conversation.outgoing.map(({ body, state }) => [body, state]), [["hello you", "sending"]]);
    await sending;

    assert.deepEqual(conversation.outgoing, []);
    assert.deepEqual(conversation.messages.map(MINE), ["hello", "me: hello you"]);
    assert.equal(conversation.lastMessage.number, 2);
  });

  test("keeps the order though the first has to wait", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    server.next["chat.send"] = [{ code: "rate_limited", retryable: true, retry_after_ms: 3_000 }];
    for (const body of ["one", "two", "three"]) void conversation.send(body);
    await runtime.advance(2_900);
    assert.deepEqual(server.bodies("c1"), []);
    await runtime.advance(200);

    assert.deepEqual(server.bodies("c1"), ["one", "two", "three"]);
    assert.deepEqual(conversation.messages.map(MINE), ["me: one", "me: two", "me: three"]);
  });

  test("is kept once though the answer is lost with the session", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    server.next["chat.send"] = ["lost"];
    const sending = conversation.send("only once");
    await settle();
    assert.deepEqual(server.bodies("c1"), ["only once"]);
    const clientId = conversation.outgoing[0].clientId;
    await comesBack();
    await runtime.advance(1_000);
    await sending;

    assert.deepEqual(server.bodies("c1"), ["only once"]);
    assert.deepEqual(conversation.messages.map(({ clientId: id, body }) => [id, body]), [[clientId, "only once"]]);
  });

  test("goes over REST while the socket is away", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    network.server.cut();
    await conversation.send("by another way");

    assert.deepEqual(server.bodies("c1"), ["by another way"]);
    assert.ok(server.asked.includes("POST /connections/c1/messages"));
  });

  test("waits for the network, and goes out in order when it is back", async () => {
    server.acquaint("c1");
    const conversation = await opened();
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
    const conversation = await opened();
    const refusal = { code: "payload_too_large", retryable: false };
    server.next["chat.send"] = [refusal, refusal];
    await assert.rejects(conversation.send("too long"), { code: "payload_too_large" });
    await assert.rejects(conversation.send("also too long"), { code: "payload_too_large" });
    await conversation.send("short");
    assert.deepEqual(conversation.outgoing.map(({ body, state }) => [body, state]), [["too long", "failed"], ["also too long", "failed"]]);
    conversation.retry(conversation.outgoing[0].clientId);
    conversation.discard(conversation.outgoing[0].clientId);
    await settle();

    assert.deepEqual(conversation.messages.map(MINE), ["me: short", "me: too long"]);
    assert.deepEqual(conversation.outgoing, []);
  });

  test("on another device appears here", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    const message = server.keep("c1", "self", "from my phone", "its-own");
    network.server.say("chat.message", { connection_id: "c1", ...message });

    assert.deepEqual(conversation.messages.map(MINE), ["me: from my phone"]);
    assert.equal(conversation.unread, 0);
  });

  test("is confirmed by being told, before its answer", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    server.next["chat.send"] = ["lost"];
    const sending = conversation.send("hello");
    await settle();
    const kept = server.keep("c1", "self", "hello", conversation.outgoing[0].clientId);
    network.server.say("chat.message", { connection_id: "c1", ...kept });
    await sending;

    assert.deepEqual(conversation.outgoing, []);
    assert.deepEqual(conversation.messages.map(MINE), ["me: hello"]);
  });
});

describe("reading", () => {
  test("counts at once here, and is said once", async () => {
    server.acquaint("c1", { said: [["peer", "one"], ["peer", "two"]] });
    const conversation = await opened();
    conversation.markRead();
    assert.equal(chat.unread, 0);
    conversation.markRead();
    await settle();

    assert.deepEqual(network.server.of("chat.read").map(({ data }) => data), [{ connection_id: "c1", up_to: 2 }]);
    assert.equal(server.unread("c1"), 0);
  });

  test("of nothing that was loaded is no reading", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    await connected();
    await chat.connections();
    chat.conversation("c1").markRead();
    await settle();

    assert.equal(chat.unread, 1);
    assert.deepEqual(network.server.of("chat.read"), []);
  });

  test("that the server does not know of yet is not undone by the list", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await opened();
    server.next["chat.read"] = [{ code: "unavailable", retryable: true }];
    conversation.markRead();
    await settle();
    await chat.connections();

    assert.equal(conversation.unread, 0);
  });

  test("is said again by whoever could not say it, and no older count undoes it", async () => {
    server.acquaint("c1", { said: [["peer", "one"]] });
    const conversation = await opened();
    server.next["chat.read"] = [{ code: "unavailable", retryable: true }];
    conversation.markRead();
    await settle();
    await comesBack({ unread: { c1: 1 } });
    await settle();

    assert.equal(conversation.unread, 0);
    assert.equal(server.unread("c1"), 0);
  });

  test("by the other side marks what we said", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    await conversation.send("hello");
    network.server.say("chat.read", { connection_id: "c1", by: "peer", up_to: 1 });

    assert.equal(conversation.peerReadUpTo, 1);
  });

  test("on another device counts here", async () => {
    server.acquaint("c1", { said: [["peer", "one"], ["peer", "two"]] });
    const conversation = await opened();
    network.server.say("chat.read", { connection_id: "c1", by: "self", up_to: 1, unread: 1 });

    assert.deepEqual([conversation.unread, conversation.readUpTo], [1, 1]);
  });
});

describe("typing", () => {
  test("is told at most every three seconds, and not while the socket is away", async () => {
    server.acquaint("c1");
    const conversation = await opened();
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
    const conversation = await opened();
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

describe("presence", () => {
  test("of everybody is watched, of those to come too, and again in a new session", async () => {
    server.acquaint("c1");
    server.acquaint("c2");
    await connected();
    await chat.connections();
    chat.watch();
    network.server.say("connection.made", { call_id: "k", connection_id: "c3", peer: LEO });
    const watched = () => network.server.of("presence.watch").map(({ data }) => data.connection_ids);
    assert.deepEqual(watched(), [["c1", "c2"], ["c3"]]);
    server.acquaint("c3");
    await comesBack();

    assert.deepEqual(watched(), [["c1", "c2", "c3"]]);
  });

  test("is what the server said last", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    network.server.send({ type: "presence.update", data: { connection_id: "c1", presence: "online" } });
    assert.equal(conversation.presence, "online");
    network.server.send({ type: "presence.update", data: { connection_id: "c1", presence: "offline" } });

    assert.equal(conversation.presence, "offline");
  });

  test("of nobody is watched any more", async () => {
    server.acquaint("c1");
    await connected();
    await chat.connections();
    chat.watch(["c1"]);
    chat.unwatch();
    await comesBack();

    assert.equal(network.endpoints[0].of("presence.unwatch").length, 1);
    assert.deepEqual(network.server.of("presence.watch"), []);
  });
});

describe("an end", () => {
  for (const away of [false, true]) {
    test(`by a block goes over ${away ? "REST while the socket is away" : "the socket"}`, async () => {
      server.acquaint("c1");
      const conversation = await opened();
      const ended = [];
      chat.on("ended", ({ id }) => ended.push(id));
      if (away) network.server.cut();
      await conversation.block();

      assert.deepEqual(ended, ["c1"]);
      assert.equal(network.endpoints[0].of("safety.block").length, away ? 0 : 1);
      assert.equal(server.asked.includes("POST /blocks"), away);
    });
  }

  test("by deleting goes over REST", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    await conversation.end();

    assert.ok(conversation.ended);
    assert.ok(server.asked.includes("DELETE /connections/c1"));
  });

  test("on another device is told", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    network.server.say("connection.ended", { connection_id: "c1" });

    assert.ok(conversation.ended);
  });

  test("by the other side shows when something is said", async () => {
    server.acquaint("c1");
    server.acquaint("c2");
    const conversation = await opened();
    await chat.conversation("c2").block();
    await assert.rejects(chat.conversation("c2").send("hello?"), { code: "not_connected" });

    assert.ok(chat.conversation("c2").ended);
    assert.equal(conversation.ended, false);
  });

  test("is no condition for a report", async () => {
    server.acquaint("c1");
    const conversation = await opened();
    await conversation.report("scam", "wants money");

    assert.deepEqual(network.server.of("safety.report")[0].data, { connection_id: "c1", category: "scam", note: "wants money" });
  });
});

describe("being away", () => {
  test("is said, and said again to a session that does not know", async () => {
    await connected();
    const saying = client.setAway(true);
    await saying;
    assert.equal(client.away, true);
    await comesBack({ presence: "idle" });

    assert.deepEqual(network.server.of("presence.set").map(({ data }) => data), [{ away: true }]);
  });

  test("is known from the snapshot", async () => {
    await connected({ presence: "away" });

    assert.equal(client.away, true);
    assert.deepEqual(network.server.of("presence.set"), []);
  });
});
