/** How a session begins, and how its token is kept fresh. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { MinuetError } from "../../minuet/web/sdk/index.js";
import { settle } from "./fakes/runtime.mjs";
import { Session } from "./fixtures/session.mjs";

let session;
let network;
let runtime;
let connection;
let tokens;

beforeEach(() => {
  session = new Session();
  ({ network, runtime, connection, tokens } = session);
});

describe("the handshake", () => {
  test("names the subprotocol, and puts the token into the first frame only", async () => {
    await session.opened();

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

describe("a token that is about to run out", () => {
  test("is renewed on the live connection", async () => {
    await session.opened();
    network.server.say("session.expiring", { token_expires_at: 1 });
    await settle();
    const [refresh] = network.server.of("session.refresh");
    network.server.ok(refresh.id);

    assert.deepEqual(tokens, ["connect", "expiring"]);
    assert.deepEqual(refresh.data, { token: "token-2" });
  });
});
