/** How two lose touch. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { ChatApp } from "./fixtures/chat-app.mjs";

let app;
let network;
let server;
let chat;

beforeEach(() => {
  app = new ChatApp();
  ({ network, server, chat } = app);
});

describe("an end", () => {
  for (const away of [false, true]) {
    test(`by a block goes over ${away ? "REST while the socket is away" : "the socket"}`, async () => {
      server.acquaint("c1");
      const conversation = await app.opened();
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
    const conversation = await app.opened();
    await conversation.end();

    assert.ok(conversation.ended);
    assert.ok(server.asked.includes("DELETE /connections/c1"));
  });

  test("on another device is told", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    network.server.say("connection.ended", { connection_id: "c1" });

    assert.ok(conversation.ended);
  });

  test("by the other side shows when something is said", async () => {
    server.acquaint("c1");
    server.acquaint("c2");
    const conversation = await app.opened();
    await chat.conversation("c2").block();
    await assert.rejects(chat.conversation("c2").send("hello?"), { code: "not_connected" });

    assert.ok(chat.conversation("c2").ended);
    assert.equal(conversation.ended, false);
  });

  test("is no condition for a report", async () => {
    server.acquaint("c1");
    const conversation = await app.opened();
    await conversation.report("scam", "wants money");

    assert.deepEqual(network.server.of("safety.report")[0].data, { connection_id: "c1", category: "scam", note: "wants money" });
  });
});
