/** ICE candidates on their way out and in. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { CandidateInbox, CandidateOutbox, ufragsOf } from "../../minuet/web/sdk/candidates.js";
import { FakeRuntime } from "./fakes/runtime.mjs";

const sdp = (ufrag) => `v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:${ufrag}\r\na=mid:0\r\n`;
const gathered = (name, ufrag) => ({ candidate: name, sdpMid: "0", usernameFragment: ufrag });

let runtime;
let sent;
let outbox;

beforeEach(() => {
  runtime = new FakeRuntime();
  sent = [];
  outbox = new CandidateOutbox((batch) => sent.push(batch), runtime);
});

const names = () => sent.map(({ negotiation, of, candidates, complete }) => [negotiation, of, candidates.map(({ candidate }) => candidate), complete]);

describe("going out", () => {
  test("they are batched for 50 ms, and carry mid and credentials", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.accept();
    outbox.add(gathered("x", "one"));
    await runtime.advance(40);
    outbox.add(gathered("y", "one"));
    assert.deepEqual(sent, []);
    await runtime.advance(10);

    assert.deepEqual(sent, [
      {
        negotiation: 1,
        of: "self",
        candidates: [
          { candidate: "x", mid: "0", ufrag: "one" },
          { candidate: "y", mid: "0", ufrag: "one" },
        ],
        complete: false,
      },
    ]);
  });

  test("those that are gathered later follow, and the end is said", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.accept();
    outbox.add(gathered("x", "one"));
    await runtime.advance(50);
    outbox.add(gathered("y", "one"));
    outbox.add(null);
    await runtime.advance(50);

    assert.deepEqual(names(), [
      [1, "self", ["x"], false],
      [1, "self", ["y"], true],
    ]);
  });

  test("they wait for the verdict on their description", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.add(gathered("x", "one"));
    await runtime.advance(10_000);
    assert.deepEqual(sent, []);
    outbox.accept();
    await runtime.advance(50);

    assert.deepEqual(names(), [[1, "self", ["x"], false]]);
  });

  test("those of a description in use are sent while another is being judged", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.accept();
    outbox.propose({ negotiation: 2, of: "self" }, sdp("two"));
    outbox.add(gathered("x", "one"));
    outbox.add(gathered("y", "two"));
    await runtime.advance(50);

    assert.deepEqual(names(), [[1, "self", ["x"], false]]);
  });

  test("those of a description that was given up are gone, and the one in use goes on", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.accept();
    outbox.propose({ negotiation: 2, of: "self" }, sdp("two"));
    outbox.add(gathered("y", "two"));
    outbox.discard();
    outbox.add(null);
    await runtime.advance(50);

    assert.deepEqual(names(), [[1, "self", [], true]]);
  });

  test("what had not gone out goes with the next description of the same credentials", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.accept();
    outbox.add(gathered("x", "one"));
    outbox.propose({ negotiation: 2, of: "self" }, sdp("one"));
    outbox.accept();
    await runtime.advance(50);

    assert.deepEqual(names(), [[2, "self", ["x"], false]]);
  });

  test("no more than 40 of a generation are sent", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.accept();
    for (let number = 0; number < 30; number += 1) outbox.add(gathered(`x${number}`, "one"));
    await runtime.advance(50);
    for (let number = 0; number < 30; number += 1) outbox.add(gathered(`y${number}`, "one"));
    await runtime.advance(50);

    assert.deepEqual(sent.map(({ candidates }) => candidates.length), [30, 10]);
  });

  test("credentials are read from the candidate where the browser does not give them", async () => {
    outbox.propose({ negotiation: 1, of: "self" }, sdp("one"));
    outbox.accept();
    outbox.propose({ negotiation: 2, of: "self" }, sdp("two"));
    outbox.add({ candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host ufrag one", sdpMid: "0" });
    await runtime.advance(50);

    assert.equal(sent[0].negotiation, 1);
  });
});

describe("coming in", () => {
  const batch = (negotiation, of, ...list) => ({ negotiation, of, candidates: list.map((candidate) => ({ candidate, mid: "0", ufrag: "u" })), complete: false });
  let applied;
  let inbox;

  beforeEach(() => {
    applied = [];
    inbox = new CandidateInbox(async (candidate) => void applied.push(candidate?.candidate ?? null));
  });

  test("those of the description in use are applied, in order", async () => {
    const remote = { key: { negotiation: 3, of: "peer" }, ufrags: new Set() };
    await inbox.take(batch(3, "peer", "x", "y"), remote);
    await inbox.take({ ...batch(3, "peer"), complete: true }, remote);

    assert.deepEqual(applied, ["x", "y", null]);
  });

  test("those of another negotiation with the same credentials are too", async () => {
    await inbox.take(batch(2, "peer", "x"), { key: { negotiation: 1, of: "self" }, ufrags: new Set(["u"]) });

    assert.deepEqual(applied, ["x"]);
  });

  test("equal numbers of the two sides are two negotiations", async () => {
    await inbox.take(batch(1, "self", "x"), { key: { negotiation: 1, of: "peer" }, ufrags: new Set() });
    assert.deepEqual(applied, []);
    await inbox.release({ negotiation: 1, of: "self" });

    assert.deepEqual(applied, ["x"]);
  });

  test("those that never find their description do not pile up: the oldest go first", async () => {
    for (let number = 0; number < 200; number += 1) await inbox.take(batch(number, "peer", `x${number}`), null);
    for (let number = 0; number < 200; number += 1) await inbox.release({ negotiation: number, of: "peer" });

    assert.equal(applied.length, 120);
    assert.equal(applied[0], "x80");
  });
});

test("a description's credentials are read from all its sections", () => {
  assert.deepEqual([...ufragsOf(sdp("one") + sdp("two"))], ["one", "two"]);
});
