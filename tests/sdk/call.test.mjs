/** One call as one side sees it. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Call, LocalMedia, MinuetError, ServerClock } from "../../minuet/web/sdk/index.js";
import { videoOf } from "./fakes/crossing.mjs";
import { FakePeerConnection, FakeTrack } from "./fakes/peer-connection.mjs";
import { FakeRuntime, settle } from "./fakes/runtime.mjs";

const CALL = "01890000-0000-7000-8000-000000000001";
const LEO = { first_name: "Leo", age: 31, languages: ["en"], verified: false };

/** Devices that open what is asked for, and can be told to refuse. */
class FakeDevices {
  refusal = null;
  opened = [];

  async getUserMedia({ audio }) {
    if (this.refusal) throw new DOMException("no", this.refusal);
    const track = new FakeTrack(audio ? "audio" : "video");
    this.opened.push(track);
    return { getAudioTracks: () => [track], getVideoTracks: () => [track] };
  }
}

let runtime;
let devices;
let media;
let said;
let answers;
let connections;

beforeEach(() => {
  runtime = new FakeRuntime();
  devices = new FakeDevices();
  media = new LocalMedia(devices);
  said = [];
  answers = {};
  connections = [];
});

function makeCall({ seat = "a", role = "controller", restored = false, found } = {}) {
  const match = { call_id: CALL, seat, role, offerer: seat === "a", peer: LEO, accept_by_at: runtime.now() + 10_000, ice_transport_policy: "relay" };
  const call = new Call(found ?? match, {
    request: async (type, data) => {
      said.push([type, data]);
      const answer = answers[type];
      if (answer instanceof Error) throw answer;
      return answer ?? {};
    },
    clock: new ServerClock(runtime.now),
    media,
    createPeerConnection: (configuration) => {
      connections.push(new FakePeerConnection(configuration));
      return connections.at(-1);
    },
    runtime,
    restored,
  });
  return call;
}

let version = 0;

function view(more = {}) {
  version += 1;
  return {
    call_id: CALL,
    version,
    state: "connecting",
    role: "controller",
    seat: "a",
    offerer: true,
    peer: LEO,
    peer_attached: true,
    video_allowed: { a: false, b: false },
    pending: { video: null, extend: null },
    connected: false,
    server_now: runtime.now(),
    ends_at: null,
    deadline_at: runtime.now() + 20_000,
    ...more,
  };
}

function live(more = {}) {
  return view({ state: "live", ends_at: runtime.now() + 180_000, ...more });
}

const saidOf = (type) => said.filter(([one]) => one === type).map(([, data]) => data);

/** A call whose media is up. */
async function talking({ seat = "a", role = "controller" } = {}) {
  const call = makeCall({ seat, role });
  call.receive("call.state", view({ seat, role }));
  call.receive("call.ice_servers", { call_id: CALL, ice_servers: [{ urls: ["turn:turn.test"] }] });
  await settle();
  if (seat === "a") await answerOffer(call);
  connections[0].become("connected");
  await settle();
  call.receive("call.state", live({ seat, role }));
  return call;
}

/** The other browser's answer to the last offer. */
async function answerOffer(call) {
  const { negotiation, sdp } = saidOf("call.offer").at(-1);
  const other = new FakePeerConnection();
  other.addTrack(new FakeTrack("audio"));
  await other.setRemoteDescription({ type: "offer", sdp });
  const video = videoOf(other);
  if (video) video.direction = "sendrecv";
  const answer = await other.createAnswer();
  call.receive("call.answer", { call_id: CALL, negotiation, of: "self", sdp: answer.sdp });
  await settle();
}

describe("media", () => {
  test("begins when the servers are known and the call is connecting, with the policy of the match", async () => {
    const call = makeCall();
    call.receive("call.state", view());
    await settle();
    assert.equal(connections.length, 0);
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [{ urls: ["turn:turn.test"] }] });
    await settle();

    assert.equal(connections.length, 1);
    assert.deepEqual(connections[0].getConfiguration(), { iceServers: [{ urls: ["turn:turn.test"] }], iceTransportPolicy: "relay", bundlePolicy: "max-bundle" });
    assert.equal(saidOf("call.offer").length, 1);
    assert.equal(saidOf("call.offer")[0].call_id, CALL);
  });

  test("says whether this side's address is hidden, in a call that began here and in one that was there before", () => {
    const open = { call_id: CALL, seat: "a", role: "controller", offerer: true, peer: LEO, accept_by_at: runtime.now() + 10_000 };
    const hidden = [
      makeCall(),
      makeCall({ found: open }),
      makeCall({ found: { ...open, ice_transport_policy: "all" } }),
      makeCall({ found: view({ ice_transport_policy: "relay" }), restored: true }),
      makeCall({ found: view(), restored: true }),
    ].map((call) => call.addressHidden);

    assert.deepEqual(hidden, [true, false, false, true, false]);
  });

  test("begins again with the servers that were sent last", async () => {
    const call = await talking();
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [{ urls: ["turn:fresh.test"] }] });
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.deepEqual(connections.map((connection) => connection.getConfiguration().iceServers[0].urls[0]), ["turn:turn.test", "turn:fresh.test"]);
    assert.equal(connections[1].getConfiguration().iceTransportPolicy, "relay");
  });

  test("begins too when the servers come before the state", async () => {
    const call = makeCall();
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();
    assert.equal(connections.length, 0);
    call.receive("call.state", view());
    await settle();

    assert.equal(connections.length, 1);
  });

  test("takes an offer that comes while the microphone is being opened", async () => {
    const call = makeCall({ seat: "b", role: "guest" });
    const other = new FakePeerConnection();
    other.addTrack(new FakeTrack("audio"));
    const { sdp } = await other.createOffer();
    call.receive("call.state", view({ seat: "b" }));
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    call.receive("call.offer", { call_id: CALL, negotiation: 1, sdp });
    await settle();

    assert.equal(saidOf("call.answer").length, 1);
    assert.deepEqual([saidOf("call.answer")[0].negotiation, saidOf("call.answer")[0].of], [1, "peer"]);
  });

  test("is said to be connected only when the answer is in use", async () => {
    const call = makeCall();
    call.receive("call.state", view());
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();
    connections[0].become("connected");
    await settle();
    assert.deepEqual(saidOf("call.media"), []);
    await answerOffer(call);

    assert.deepEqual(saidOf("call.media").map(({ call_id, state }) => [call_id, state]), [[CALL, "connected"]]);
  });

  test("is said to be connected again where the server had not relayed the answer yet", async () => {
    answers["call.media"] = new MinuetError("bad_state");
    await talking();
    answers["call.media"] = {};
    await runtime.advance(500);

    assert.deepEqual(saidOf("call.media").map(({ state }) => state), ["connected", "connected"]);
  });

  test("is said to be disconnected after 3 s, not before", async () => {
    await talking();
    connections[0].become("disconnected");
    await runtime.advance(2_999);
    assert.equal(saidOf("call.media").at(-1).state, "connected");
    await runtime.advance(1);

    assert.equal(saidOf("call.media").at(-1).state, "disconnected");
  });

  test("that comes back within 3 s was never gone", async () => {
    await talking();
    connections[0].become("disconnected");
    await runtime.advance(2_000);
    connections[0].become("connected");
    await runtime.advance(10_000);

    assert.deepEqual(saidOf("call.media").map(({ state }) => state), ["connected"]);
    assert.equal(saidOf("call.ice_servers").length, 0);
  });

  test("that is lost is restarted with fresh servers, by seat a at once", async () => {
    answers["call.ice_servers"] = { ice_servers: [{ urls: ["turn:fresh.test"] }] };
    const call = await talking();
    connections[0].become("failed");
    await settle();

    assert.deepEqual(connections[0].getConfiguration().iceServers, [{ urls: ["turn:fresh.test"] }]);
    assert.equal(saidOf("call.offer").length, 2);
    assert.deepEqual(saidOf("call.media").map(({ state }) => state), ["connected", "disconnected"]);
    assert.equal(call.media, "disconnected");
  });

  test("that two restarts do not bring back begins again from nothing", async () => {
    answers["call.ice_servers"] = { ice_servers: [] };
    const call = await talking();
    connections[0].become("failed");
    await settle();
    // The restart is answered, and helps nothing.
    await answerOffer(call);
    await runtime.advance(7_999);
    assert.equal(saidOf("call.media").at(-1).state, "disconnected");
    await runtime.advance(1);

    assert.equal(saidOf("call.media").at(-1).state, "failed");
  });

  test("that is lost is restarted by seat b only if seat a did not", async () => {
    const call = await talking({ seat: "b", role: "guest" });
    const other = new FakePeerConnection();
    other.addTrack(new FakeTrack("audio"));
    call.receive("call.offer", { call_id: CALL, negotiation: 1, sdp: (await other.createOffer()).sdp });
    await settle();
    connections[0].become("failed");
    await runtime.advance(1_999);
    assert.equal(saidOf("call.offer").length, 0);
    await runtime.advance(1);

    assert.equal(saidOf("call.offer").length, 1);
  });

  test("that comes back gets both restarts anew when it is lost again", async () => {
    answers["call.ice_servers"] = { ice_servers: [] };
    const call = await talking();
    for (let loss = 0; loss < 2; loss += 1) {
      connections[0].become("failed");
      await runtime.advance(5_000);
      await answerOffer(call);
      connections[0].become("connected");
      await settle();
    }
    connections[0].become("failed");
    await runtime.advance(7_000);

    assert.ok(!saidOf("call.media").some(({ state }) => state === "failed"));
  });

  test("is not reported as it was when it has changed meanwhile", async () => {
    let refuse;
    answers["call.media"] = new Promise((_resolve, reject) => (refuse = reject));
    await talking();
    answers["call.media"] = {};
    connections[0].become("failed");
    refuse(new MinuetError("bad_state"));
    await runtime.advance(1_000);

    assert.deepEqual(saidOf("call.media").map(({ state }) => state), ["connected", "disconnected"]);
  });

  test("begins again with a new peer connection when the server resets it; numbers go on rising", async () => {
    const call = await talking();
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.equal(connections.length, 2);
    assert.equal(connections[0].signalingState, "closed");
    assert.deepEqual(saidOf("call.offer").map(({ negotiation }) => negotiation), [1, 2]);
  });

  test("ends with the call, and its camera with it", async () => {
    const call = await talking();
    call.receive("call.state", live({ video_allowed: { a: true, b: true } }));
    await call.startCamera();
    call.receive("call.ended", { call_id: CALL, reason: "hangup", duration_ms: 61_000, requeued: false });

    assert.equal(connections[0].signalingState, "closed");
    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.deepEqual(call.end, { reason: "hangup", durationMs: 61_000, requeued: false });
  });

  test("ends in deciding", async () => {
    const call = await talking();
    call.receive("call.state", view({ state: "deciding" }));

    assert.equal(connections[0].signalingState, "closed");
  });

  test("without a microphone is said to the app", async () => {
    devices.refusal = "NotAllowedError";
    const call = makeCall();
    const errors = [];
    call.on("mediaerror", (error) => errors.push(error.code));
    call.receive("call.state", view());
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();

    assert.deepEqual(errors, ["media_denied"]);
  });
});

describe("a call that was there before the page", () => {
  test("opens no microphone until the user comes back to it", async () => {
    makeCall({ restored: true, found: live() });
    await settle();

    assert.deepEqual(devices.opened, []);
    assert.equal(connections.length, 0);
  });

  test("then asks that both sides begin again, with numbers above all that were used", async () => {
    answers["call.ice_servers"] = { ice_servers: [] };
    const call = makeCall({ restored: true, found: live() });
    await call.rejoin();
    await settle();
    assert.deepEqual(saidOf("call.media").map(({ state }) => state), ["failed"]);
    assert.equal(saidOf("call.offer").length, 0);
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.equal(connections.length, 2);
    assert.ok(saidOf("call.offer")[0].negotiation > 1_000_000);
    assert.ok(saidOf("call.offer")[0].negotiation < 2 ** 31);
  });
});

describe("the server's view", () => {
  test("is mirrored, and an older one changes nothing", async () => {
    const call = await talking();
    const old = live({ connected: true });
    call.receive("call.state", live({ pending: { video: { by: "b", until_at: 7 }, extend: { by: "a", until_at: 8 } }, extensions_left: 1 }));
    call.receive("call.state", { ...old, version: 1 });

    assert.equal(call.state, "live");
    assert.equal(call.connected, false);
    assert.deepEqual(call.pending, { video: { mine: false, untilAt: 7 }, extend: { mine: true, untilAt: 8 } });
    assert.equal(call.extensionsLeft, 1);
  });

  test("gives the clock by the server's time, and how long it had", async () => {
    const call = await talking();
    await runtime.advance(30_000);

    assert.equal(call.clockMs, 180_000);
    assert.equal(call.remainingMs, 150_000);
  });

  test("of an extension makes the ring full again", async () => {
    const call = await talking();
    await runtime.advance(170_000);
    call.receive("call.state", view({ state: "live", ends_at: runtime.now() + 190_000 }));

    assert.equal(call.clockMs, 190_000);
  });

  test("asks again what media does when the call waits for it", async () => {
    const call = await talking();
    call.receive("call.state", view({ state: "reconnecting", ends_at: call.endsAt }));

    assert.deepEqual(saidOf("call.media").map(({ state }) => state), ["connected", "connected"]);
  });

  test("changes nothing after the end", async () => {
    const call = await talking();
    call.receive("call.ended", { call_id: CALL, reason: "completed", duration_ms: 1, requeued: false });
    call.receive("call.state", live());

    assert.equal(call.state, "ended");
  });
});

describe("video", () => {
  const both = { video_allowed: { a: true, b: true } };

  test("cannot be started before it is allowed, and opens no camera", async () => {
    const call = await talking();

    await assert.rejects(call.startCamera(), { code: "video_not_allowed" });
    assert.equal(devices.opened.filter(({ kind }) => kind === "video").length, 0);
  });

  test("is offered once it is allowed and the camera runs", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    await call.startCamera();
    await settle();

    assert.equal(saidOf("call.offer").length, 2);
    assert.equal(videoOf(connections[0]).direction, "sendrecv");
  });

  test("taken back stops here before the server knows", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    await call.startCamera();
    await settle();
    await answerOffer(call);
    const camera = devices.opened.at(-1);
    const offersBefore = saidOf("call.offer").length;
    void call.revokeVideo();

    assert.equal(camera.readyState, "ended");
    assert.equal(videoOf(connections[0]).sender.track, null);
    assert.deepEqual(call.videoAllowed, { self: false, peer: false });
    assert.equal(call.remoteVideo, null);
    await settle();
    const order = said.map(([type]) => type);
    assert.ok(order.lastIndexOf("video.revoke") < order.lastIndexOf("call.offer"));
    assert.equal(saidOf("call.offer").length, offersBefore + 1);
  });

  test("taken back is not brought back by news that is older", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    await call.startCamera();
    await settle();
    await answerOffer(call);
    let confirm;
    answers["video.revoke"] = new Promise((resolve) => (confirm = resolve));
    const revoking = call.revokeVideo();
    call.receive("call.state", live({ ...both, pending: { video: null, extend: { by: "b", until_at: 9 } } }));
    await settle();

    assert.deepEqual(call.videoAllowed, { self: false, peer: false });
    assert.match(saidOf("call.offer").at(-1).sdp, /m=video[^]*a=inactive/);
    confirm({});
    await revoking;
    call.receive("video.allowed", { call_id: CALL, ...both });
    assert.deepEqual(call.videoAllowed, { self: true, peer: true });
  });

  test("taken back by the other stops here as soon as it is known", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    await call.startCamera();
    await settle();
    call.receive("video.revoked", { call_id: CALL, video_allowed: { a: false, b: false } });

    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.equal(videoOf(connections[0]).sender.track, null);
  });

  test("narrowed by the controller to watching stops her camera first", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    await call.startCamera();
    await settle();
    await answerOffer(call);
    void call.approveVideo("receive");

    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.equal(call.videoAllowed.self, false);
    assert.equal(call.videoAllowed.peer, true);
    await settle();
    assert.match(saidOf("call.offer").at(-1).sdp, /m=video[^]*a=recvonly/);
  });

  test("taken back while the user was being asked for the camera opens nothing", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    const starting = call.startCamera();
    call.receive("video.revoked", { call_id: CALL, video_allowed: { a: false, b: false } });

    await assert.rejects(starting, { code: "video_not_allowed" });
    assert.equal(devices.opened.at(-1).readyState, "ended");
    assert.equal(call.cameraOn, false);
  });

  test("that the server refused is tried again when it says yes once more", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    answers["call.offer"] = new MinuetError("video_not_allowed");
    await call.startCamera();
    await settle();
    answers["call.offer"] = {};
    await runtime.advance(10_000);
    const before = saidOf("call.offer").length;
    call.receive("video.allowed", { call_id: CALL, ...both });
    await settle();

    assert.equal(saidOf("call.offer").length, before + 1);
  });

  test("is not started by a user who was still being asked when the call ended", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    const starting = call.startCamera();
    call.receive("call.state", view({ ...both, state: "deciding" }));

    await assert.rejects(starting, { code: "video_not_allowed" });
    assert.equal(devices.opened.at(-1).readyState, "ended");
  });

  test("is the other side's by seat, not by role", async () => {
    const call = await talking({ seat: "b", role: "guest" });
    call.receive("call.state", live({ seat: "b", role: "guest", video_allowed: { a: false, b: true } }));

    assert.deepEqual(call.videoAllowed, { self: true, peer: false });
  });

  test("may be turned off and on without any signaling while it is allowed", async () => {
    const call = await talking();
    call.receive("call.state", live(both));
    await call.startCamera();
    await settle();
    await answerOffer(call);
    const before = saidOf("call.offer").length;
    call.stopCamera();
    await settle();

    assert.equal(videoOf(connections[0]).sender.track, null);
    const camera = await call.startCamera();
    await settle();
    assert.equal(videoOf(connections[0]).sender.track, camera);
    assert.equal(videoOf(connections[0]).direction, "sendrecv");
    assert.equal(saidOf("call.offer").length, before);
  });
});

describe("what may be asked", () => {
  test("carries the call's id", async () => {
    const call = await talking();
    said.length = 0;
    await Promise.all([
      call.accept(),
      call.requestVideo(),
      call.approveVideo("both"),
      call.denyVideo(),
      call.extend(),
      call.replyExtend(true),
      call.connect(),
      call.pass(),
      call.report("spam", "words"),
      call.hangup(),
      call.block(),
    ]);

    assert.deepEqual(said, [
      ["call.accept", { call_id: CALL }],
      ["video.request", { call_id: CALL }],
      ["video.approve", { call_id: CALL, direction: "both" }],
      ["video.deny", { call_id: CALL }],
      ["call.extend", { call_id: CALL }],
      ["call.extend.reply", { call_id: CALL, accept: true }],
      ["connect.request", { call_id: CALL }],
      ["connect.pass", { call_id: CALL }],
      ["safety.report", { call_id: CALL, category: "spam", note: "words" }],
      ["call.hangup", { call_id: CALL }],
      ["safety.block", { call_id: CALL }],
    ]);
  });

  test("follows from the role", () => {
    const may = (role) => {
      const call = makeCall({ role });
      return [call.mayRequestVideo, call.mayConnect];
    };

    assert.deepEqual(may("controller"), [false, true]);
    assert.deepEqual(may("guest"), [true, false]);
    assert.deepEqual(may("mutual"), [true, true]);
  });

  test("to be muted silences the microphone, and a reset leaves it so", async () => {
    const call = await talking();
    call.mute(true);
    assert.equal(media.microphone.enabled, false);
    call.receive("call.reset", { call_id: CALL });
    await settle();

    assert.equal(media.microphone.enabled, false);
    call.mute(false);
    assert.equal(media.microphone.enabled, true);
  });

  test("to be muted holds for a microphone that is opened later", async () => {
    const call = makeCall();
    call.mute(true);
    call.receive("call.state", view());
    call.receive("call.ice_servers", { call_id: CALL, ice_servers: [] });
    await settle();

    assert.equal(media.microphone.enabled, false);
  });

  test("to hang up stops media here at once", async () => {
    const call = await talking();
    void call.hangup();

    assert.equal(connections[0].signalingState, "closed");
  });
});
