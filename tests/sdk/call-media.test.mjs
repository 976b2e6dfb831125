/** The media of a call: when it begins, what is said of it, and what is done when it is lost. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { MinuetError } from "../../minuet/web/sdk/index.js";
import { FakePeerConnection, FakeTrack } from "./fakes/peer-connection.mjs";
import { LEO } from "./fakes/people.mjs";
import { settle } from "./fakes/runtime.mjs";
import { CALL, CallSide } from "./fixtures/call-side.mjs";

let side;
let runtime;
let devices;
let answers;
let connections;

beforeEach(() => {
  side = new CallSide();
  ({ runtime, devices, answers, connections } = side);
});

describe("media", () => {
  test("begins when the servers are known and the call is connecting, with the policy of the match", async () => {
    const call = side.makeCall();
    call.receive("call.state", side.view());
    await settle();
    assert.equal(connections.length, 0);
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [{ urls: ["turn:turn.test"] }] });
    await settle();

    assert.equal(connections.length, 1);
    assert.deepEqual(connections[0].getConfiguration(), { iceServers: [{ urls: ["turn:turn.test"] }], iceTransportPolicy: "relay", bundlePolicy: "max-bundle" });
    assert.equal(side.saidOf("call.offer").length, 1);
    assert.equal(side.saidOf("call.offer")[0].call_id, CALL);
  });

  test("says whether this side's address is hidden, in a call that began here and in one that was there before", () => {
    const open = { call_id: CALL, seat: "a", role: "controller", offerer: true, peer: LEO, accept_by_at: runtime.now() + 10_000 };
    const hidden = [
      side.makeCall(),
      side.makeCall({ found: open }),
      side.makeCall({ found: { ...open, ice_transport_policy: "all" } }),
      side.makeCall({ found: side.view({ ice_transport_policy: "relay" }), restored: true }),
      side.makeCall({ found: side.view(), restored: true }),
    ].map((call) => call.addressHidden);

    assert.deepEqual(hidden, [true, false, false, true, false]);
  });

  test("begins again with the servers that were sent last", async () => {
    const call = await side.talking();
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [{ urls: ["turn:fresh.test"] }] });
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.deepEqual(connections.map((connection) => connection.getConfiguration().iceServers[0].urls[0]), ["turn:turn.test", "turn:fresh.test"]);
    assert.equal(connections[1].getConfiguration().iceTransportPolicy, "relay");
  });

  test("begins too when the servers come before the state", async () => {
    const call = side.makeCall();
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();
    assert.equal(connections.length, 0);
    call.receive("call.state", side.view());
    await settle();

    assert.equal(connections.length, 1);
  });

  test("takes an offer that comes while the microphone is being opened", async () => {
    const call = side.makeCall({ seat: "b", role: "guest" });
    const other = new FakePeerConnection();
    other.addTrack(new FakeTrack("audio"));
    const { sdp } = await other.createOffer();
    call.receive("call.state", side.view({ seat: "b" }));
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    call.receive("call.offer", { call_id: CALL, negotiation: 1, sdp });
    await settle();

    assert.equal(side.saidOf("call.answer").length, 1);
    assert.deepEqual([side.saidOf("call.answer")[0].negotiation, side.saidOf("call.answer")[0].of], [1, "peer"]);
  });

  test("is said to be connected only when the answer is in use", async () => {
    const call = side.makeCall();
    call.receive("call.state", side.view());
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();
    connections[0].become("connected");
    await settle();
    assert.deepEqual(side.saidOf("call.media"), []);
    await side.answerOffer(call);

    assert.deepEqual(side.saidOf("call.media").map(({ call_id, state }) => [call_id, state]), [[CALL, "connected"]]);
  });

  test("is said to be connected again where the server had not relayed the answer yet", async () => {
    answers["call.media"] = new MinuetError("bad_state");
    await side.talking();
    answers["call.media"] = {};
    await runtime.advance(500);

    assert.deepEqual(side.saidOf("call.media").map(({ state }) => state), ["connected", "connected"]);
  });

  test("is said to be disconnected after 3 s, not before", async () => {
    await side.talking();
    connections[0].become("disconnected");
    await runtime.advance(2_999);
    assert.equal(side.saidOf("call.media").at(-1).state, "connected");
    await runtime.advance(1);

    assert.equal(side.saidOf("call.media").at(-1).state, "disconnected");
  });

  test("that comes back within 3 s was never gone", async () => {
    await side.talking();
    connections[0].become("disconnected");
    await runtime.advance(2_000);
    connections[0].become("connected");
    await runtime.advance(10_000);

    assert.deepEqual(side.saidOf("call.media").map(({ state }) => state), ["connected"]);
    assert.equal(side.saidOf("call.ice_servers").length, 0);
  });

  test("that is lost is restarted with fresh servers, by seat a at once", async () => {
    answers["call.ice_servers"] = { ice_servers: [{ urls: ["turn:fresh.test"] }] };
    const call = await side.talking();
    connections[0].become("failed");
    await settle();

    assert.deepEqual(connections[0].getConfiguration().iceServers, [{ urls: ["turn:fresh.test"] }]);
    assert.equal(side.saidOf("call.offer").length, 2);
    assert.deepEqual(side.saidOf("call.media").map(({ state }) => state), ["connected", "disconnected"]);
    assert.equal(call.media, "disconnected");
  });

  test("that two restarts do not bring back begins again from nothing", async () => {
    answers["call.ice_servers"] = { ice_servers: [] };
    const call = await side.talking();
    connections[0].become("failed");
    await settle();
    // The restart is answered, and helps nothing.
    await side.answerOffer(call);
    await runtime.advance(7_999);
    assert.equal(side.saidOf("call.media").at(-1).state, "disconnected");
    await runtime.advance(1);

    assert.equal(side.saidOf("call.media").at(-1).state, "failed");
  });

  test("that is lost is restarted by seat b only if seat a did not", async () => {
    const call = await side.talking({ seat: "b", role: "guest" });
    const other = new FakePeerConnection();
    other.addTrack(new FakeTrack("audio"));
    call.receive("call.offer", { call_id: CALL, negotiation: 1, sdp: (await other.createOffer()).sdp });
    await settle();
    connections[0].become("failed");
    await runtime.advance(1_999);
    assert.equal(side.saidOf("call.offer").length, 0);
    await runtime.advance(1);

    assert.equal(side.saidOf("call.offer").length, 1);
  });

  test("that comes back gets both restarts anew when it is lost again", async () => {
    answers["call.ice_servers"] = { ice_servers: [] };
    const call = await side.talking();
    for (let loss = 0; loss < 2; loss += 1) {
      connections[0].become("failed");
      await runtime.advance(5_000);
      await side.answerOffer(call);
      connections[0].become("connected");
      await settle();
    }
    connections[0].become("failed");
    await runtime.advance(7_000);

    assert.ok(!side.saidOf("call.media").some(({ state }) => state === "failed"));
  });

  test("is not reported as it was when it has changed meanwhile", async () => {
    let refuse;
    answers["call.media"] = new Promise((_resolve, reject) => (refuse = reject));
    await side.talking();
    answers["call.media"] = {};
    connections[0].become("failed");
    refuse(new MinuetError("bad_state"));
    await runtime.advance(1_000);

    assert.deepEqual(side.saidOf("call.media").map(({ state }) => state), ["connected", "disconnected"]);
  });

  test("begins again with a new peer connection when the server resets it; numbers go on rising", async () => {
    const call = await side.talking();
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.equal(connections.length, 2);
    assert.equal(connections[0].signalingState, "closed");
    assert.deepEqual(side.saidOf("call.offer").map(({ negotiation }) => negotiation), [1, 2]);
  });

  test("ends with the call, and its camera with it", async () => {
    const call = await side.talking();
    call.receive("call.state", side.live({ video_allowed: { a: true, b: true } }));
    await call.startCamera();
    call.receive("call.ended", { call_id: CALL, reason: "hangup", duration_ms: 61_000, requeued: false });

    assert.equal(connections[0].signalingState, "closed");
    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.deepEqual(call.end, { reason: "hangup", durationMs: 61_000, requeued: false });
  });

  test("ends in deciding", async () => {
    const call = await side.talking();
    call.receive("call.state", side.view({ state: "deciding" }));

    assert.equal(connections[0].signalingState, "closed");
  });

  test("without a microphone is said to the app", async () => {
    devices.refusal = "NotAllowedError";
    const call = side.makeCall();
    const errors = [];
    call.on("mediaerror", (error) => errors.push(error.code));
    call.receive("call.state", side.view());
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();

    assert.deepEqual(errors, ["media_denied"]);
  });
});

describe("a call that was there before the page", () => {
  test("opens no microphone until the user comes back to it", async () => {
    side.makeCall({ restored: true, found: side.live() });
    await settle();

    assert.deepEqual(devices.opened, []);
    assert.equal(connections.length, 0);
  });

  test("then asks that both sides begin again, with numbers above all that were used", async () => {
    answers["call.ice_servers"] = { ice_servers: [] };
    const call = side.makeCall({ restored: true, found: side.live() });
    await call.rejoin();
    await settle();
    assert.deepEqual(side.saidOf("call.media").map(({ state }) => state), ["failed"]);
    assert.equal(side.saidOf("call.offer").length, 0);
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.equal(connections.length, 2);
    assert.ok(side.saidOf("call.offer")[0].negotiation > 1_000_000);
    assert.ok(side.saidOf("call.offer")[0].negotiation < 2 ** 31);
  });
});
