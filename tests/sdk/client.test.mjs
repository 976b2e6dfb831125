/** The client as an app sees it, over a network that is not there. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { LocalMedia, MinuetClient } from "../../minuet/web/sdk/index.js";
import { FakeNetwork } from "./fakes/network.mjs";
import { FakePeerConnection, FakeTrack } from "./fakes/peer-connection.mjs";
import { FakeRuntime, settle } from "./fakes/runtime.mjs";

const CALL = "01890000-0000-7000-8000-000000000001";
const MAYA = { first_name: "Maya", age: 29, languages: ["en"], verified: false };

let network;
let runtime;
let client;
let heard;

function makeClient(options = {}) {
  const track = () => new FakeTrack("audio");
  client = new MinuetClient({
    baseUrl: "https://minuet.test/",
    getToken: () => "token",
    deviceId: "device-1",
    media: new LocalMedia({ getUserMedia: async () => ({ getAudioTracks: () => [track()] }) }),
    WebSocket: network.WebSocket,
    createPeerConnection: (configuration) => new FakePeerConnection(configuration),
    runtime,
    ...options,
  });
  for (const name of ["queue", "queue.left", "match", "call", "ended", "connection.made", "closed", "message"]) {
    client.on(name, (detail) => heard.push([name, detail]));
  }
  return client;
}

beforeEach(() => {
  network = new FakeNetwork();
  runtime = new FakeRuntime();
  heard = [];
  makeClient();
});

async function connected(more = {}) {
  const connecting = client.connect();
  await settle();
  network.server.ready(more);
  await connecting;
}

function found() {
  return { call_id: CALL, seat: "b", role: "guest", offerer: false, peer: MAYA, accept_by_at: runtime.now() + 10_000, server_now: runtime.now() };
}

function view(state, version) {
  return {
    call_id: CALL, version, state, role: "guest", seat: "b", peer: MAYA, peer_attached: true, video_allowed: { a: false, b: false },
    pending: { video: null, extend: null }, connected: false, server_now: runtime.now(), ends_at: null, deadline_at: runtime.now() + 20_000,
  };
}

const names = () => heard.map(([name]) => name);

describe("the queue", () => {
  test("is joined with an intent and preferences, and waiting is told", async () => {
    await connected();
    const joining = client.joinQueue("dating", { sides: ["female"] });
    const [join] = network.server.of("queue.join");
    network.server.ok(join.id);
    await joining;
    network.server.send({ type: "queue.status", data: { intent: "dating", waiting_since_at: 1, position_band: "near", eta_ms: 4_000 } });

    assert.deepEqual(join.data, { intent: "dating", preferences: { sides: ["female"] } });
    assert.deepEqual(names(), ["queue", "queue"]);
    assert.equal(client.waiting.status.eta_ms, 4_000);
  });

  test("is not waited in any more once a match came with the answer", async () => {
    await connected();
    const joining = client.joinQueue("dating");
    const [join] = network.server.of("queue.join");
    network.server.ok(join.id);
    network.server.say("match.found", found());
    await joining;

    assert.equal(client.waiting, null);
    assert.deepEqual(names(), ["match"]);
  });

  test("can be left", async () => {
    await connected();
    const leaving = client.leaveQueue();
    network.server.ok(network.server.of("queue.leave")[0].id);
    await leaving;

    assert.equal(client.waiting, null);
  });

  test("that throws us out says why", async () => {
    await connected();
    network.server.say("queue.left", { intent: "dating", reason: "paused_too_long" });

    assert.deepEqual(heard, [["queue.left", { reason: "paused_too_long" }]]);
  });
});

describe("a match", () => {
  test("is accepted by itself", async () => {
    await connected();
    network.server.say("match.found", found());
    await settle();

    assert.deepEqual(network.server.of("call.accept")[0].data, { call_id: CALL });
    assert.equal(client.call.peer.first_name, "Maya");
  });

  test("waits for the app where the app wants to ask", async () => {
    makeClient({ autoAccept: false });
    await connected();
    network.server.say("match.found", found());
    await settle();
    assert.deepEqual(network.server.of("call.accept"), []);
    client.call.accept().catch(() => {});

    assert.equal(network.server.of("call.accept").length, 1);
  });

  test("that comes twice is one call", async () => {
    await connected();
    network.server.say("match.found", found());
    const { call } = client;
    network.server.say("match.found", found());

    assert.equal(client.call, call);
  });

  test("makes the connection's heartbeat quick, and its end makes it slow again", async () => {
    await connected();
    network.server.say("match.found", found());
    await settle();
    await runtime.advance(9_000);
    assert.equal(client.connection.state, "waiting");
    await runtime.advance(500);
    network.server.send({ type: "session.resumed", data: { session_id: "s-1", replay_from: 3, last_id: 9 } });
    network.server.continueFrom(3);
    network.server.say("call.ended", { call_id: CALL, reason: "no_answer", duration_ms: 0, requeued: false });
    await runtime.advance(20_000);

    assert.equal(client.connection.state, "ready");
  });
});

describe("a call", () => {
  test("gets its own messages and nobody else's", async () => {
    await connected();
    network.server.say("match.found", found());
    network.server.say("call.state", { ...view("connecting", 3), call_id: "another" });
    assert.equal(client.call.state, "proposed");
    network.server.say("call.state", view("connecting", 1));

    assert.equal(client.call.state, "connecting");
  });

  test("that ends is no longer there, and the app is told with its reason", async () => {
    await connected();
    network.server.say("match.found", found());
    const { call } = client;
    network.server.say("call.ended", { call_id: CALL, reason: "hangup", duration_ms: 5, requeued: true });

    assert.equal(client.call, null);
    const [, detail] = heard.find(([name]) => name === "ended");
    assert.equal(detail.call, call);
    assert.deepEqual(detail.end, { reason: "hangup", durationMs: 5, requeued: true });
  });

  test("may bring a connection after its end", async () => {
    await connected();
    network.server.say("match.found", found());
    network.server.say("call.ended", { call_id: CALL, reason: "completed", duration_ms: 5, requeued: false });
    network.server.say("connection.made", { call_id: CALL, connection_id: "c-1", peer: MAYA });

    const [, detail] = heard.at(-1);
    assert.deepEqual([detail.connectionId, detail.peer.first_name, detail.call], ["c-1", "Maya", null]);
  });
});

describe("a session that could not be kept", () => {
  test("brings back the call of its snapshot", async () => {
    await connected({ snapshot: { ticket: null, call: view("live", 7), unread: {} } });

    assert.deepEqual(names(), ["call"]);
    assert.equal(client.call.state, "live");
  });

  test("keeps the call object where the call is still there", async () => {
    await connected();
    network.server.say("match.found", found());
    const { call } = client;
    network.server.cut();
    await runtime.advance(500);
    network.server.ready({ session_id: "s-2", snapshot: { ticket: null, call: view("connecting", 2) } });

    assert.equal(client.call, call);
    assert.equal(call.state, "connecting");
  });

  test("ends a call that the server no longer knows", async () => {
    await connected();
    network.server.say("match.found", found());
    network.server.cut();
    await runtime.advance(500);
    network.server.ready({ session_id: "s-2" });

    assert.equal(client.call, null);
    assert.equal(heard.find(([name]) => name === "ended")[1].end.reason, "unknown");
  });

  test("brings back the place in the queue", async () => {
    await connected({ snapshot: { ticket: { intent: "friends", queued_at: 1 }, call: null } });

    assert.equal(client.waiting.intent, "friends");
  });

  test("says that the place in the queue is lost, when it is", async () => {
    await connected();
    const joining = client.joinQueue("friends");
    network.server.ok(network.server.of("queue.join")[0].id);
    await joining;
    network.server.cut();
    await runtime.advance(500);
    network.server.ready({ session_id: "s-2" });

    assert.deepEqual(heard.at(-1), ["queue.left", { reason: "session_lost" }]);
  });
});

describe("an address", () => {
  test("of the socket follows from the server's", async () => {
    await connected();

    assert.equal(network.server.url, "wss://minuet.test/v1/ws");
  });
});
