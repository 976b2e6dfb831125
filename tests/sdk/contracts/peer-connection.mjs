/**
 * What the SDK relies on in an RTCPeerConnection. Runs on the fake under Node, and on the real one in Chromium; so it
 * imports nothing.
 *
 * @typedef {object} Kit
 * @property {() => any} createPeerConnection
 * @property {() => any} audioTrack
 * @property {() => any} videoTrack
 */

/** @param {string} sdp */
const directions = (sdp) => [...sdp.matchAll(/^a=(sendrecv|sendonly|recvonly|inactive)/gm)].map((match) => match[1]);
const kinds = (/** @type {string} */ sdp) => [...sdp.matchAll(/^m=(\w+)/gm)].map((match) => match[1]);
const ufrag = (/** @type {string} */ sdp) => /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1];

function same(actual, expected) {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one} is not ${other}`);
}

async function refuses(promise, name) {
  const error = await promise.then(
    () => null,
    (reason) => reason,
  );
  same(error?.name, name);
}

function pair(kit) {
  const [a, b] = [kit.createPeerConnection(), kit.createPeerConnection()];
  a.addTrack(kit.audioTrack());
  b.addTrack(kit.audioTrack());
  return { a, b };
}

async function negotiate(offerer, answerer) {
  const offer = await offerer.createOffer();
  await offerer.setLocalDescription(offer);
  await answerer.setRemoteDescription({ type: "offer", sdp: offer.sdp });
  const answer = await answerer.createAnswer();
  await answerer.setLocalDescription(answer);
  await offerer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  return { offer: offer.sdp, answer: answer.sdp };
}

const video = (pc) => pc.getTransceivers().find(({ receiver }) => receiver.track.kind === "video");

/** @type {Array<{name: string, run: (kit: Kit) => Promise<void>}>} */
export const peerConnectionContract = [
  {
    name: "a voice call has no video section, and joins both audio transceivers in one",
    async run(kit) {
      const { a, b } = pair(kit);
      const { offer, answer } = await negotiate(a, b);

      same(kinds(offer), ["audio"]);
      same(directions(answer), ["sendrecv"]);
      same(b.getTransceivers().length, 1);
      same([a.signalingState, b.signalingState], ["stable", "stable"]);
    },
  },
  {
    name: "an own offer is rolled back to stable, and its transceivers have no mid again",
    async run(kit) {
      const { a } = pair(kit);
      await a.setLocalDescription(await a.createOffer());
      same(a.signalingState, "have-local-offer");
      await a.setLocalDescription({ type: "rollback" });

      same(a.signalingState, "stable");
      same(a.getTransceivers()[0].mid, null);
    },
  },
  {
    name: "a peer's offer is rolled back to stable, also after createAnswer",
    async run(kit) {
      const { a, b } = pair(kit);
      const offer = await a.createOffer();
      await b.setRemoteDescription({ type: "offer", sdp: offer.sdp });
      await b.createAnswer();
      same(b.signalingState, "have-remote-offer");
      await b.setRemoteDescription({ type: "rollback" });

      same(b.signalingState, "stable");
    },
  },
  {
    name: "what is stable cannot be rolled back",
    async run(kit) {
      const { a, b } = pair(kit);
      await negotiate(a, b);

      await refuses(b.setRemoteDescription({ type: "rollback" }), "InvalidStateError");
    },
  },
  {
    name: "an answer may be applied long after it was made, though a direction has changed meanwhile",
    async run(kit) {
      const { a, b } = pair(kit);
      a.addTrack(kit.videoTrack());
      const offer = await a.createOffer();
      await b.setRemoteDescription({ type: "offer", sdp: offer.sdp });
      const answer = await b.createAnswer();
      video(b).direction = "inactive";
      await new Promise((resolve) => setTimeout(resolve, 20));
      await b.setLocalDescription(answer);

      same(b.signalingState, "stable");
      same(video(b).currentDirection, "recvonly");
    },
  },
  {
    name: "an answer without an offer is refused",
    async run(kit) {
      const { a, b } = pair(kit);
      const { answer } = await negotiate(a, b);

      await refuses(a.setRemoteDescription({ type: "answer", sdp: answer }), "InvalidStateError");
    },
  },
  {
    name: "video added by both sides at once ends in one section: the polite side's joins the peer's after a rollback",
    async run(kit) {
      const { a, b } = pair(kit);
      await negotiate(a, b);
      a.addTrack(kit.videoTrack());
      b.addTrack(kit.videoTrack());
      await b.setLocalDescription(await b.createOffer());
      await b.setLocalDescription({ type: "rollback" });
      const { offer, answer } = await negotiate(a, b);

      same(kinds(offer), ["audio", "video"]);
      same(directions(answer), ["sendrecv", "sendrecv"]);
      same(b.getTransceivers().length, 2);
      same(video(b).currentDirection, "sendrecv");
    },
  },
  {
    name: "an answerer without a camera receives, and sends in the same section once it has one",
    async run(kit) {
      const { a, b } = pair(kit);
      a.addTrack(kit.videoTrack());
      await negotiate(a, b);
      same(video(b).currentDirection, "recvonly");
      await video(b).sender.replaceTrack(kit.videoTrack());
      video(b).direction = "sendrecv";
      const { offer } = await negotiate(b, a);

      same(kinds(offer), ["audio", "video"]);
      same([video(a).currentDirection, video(b).currentDirection], ["sendrecv", "sendrecv"]);
    },
  },
  {
    name: "a section set inactive stays where it is, and can be used again",
    async run(kit) {
      const { a, b } = pair(kit);
      a.addTrack(kit.videoTrack());
      await negotiate(a, b);
      video(a).direction = "inactive";
      const { offer } = await negotiate(a, b);
      same(directions(offer), ["sendrecv", "inactive"]);
      same([video(a).currentDirection, video(b).currentDirection], ["inactive", "inactive"]);
      video(a).direction = "sendonly";
      await negotiate(a, b);

      same(kinds(offer), ["audio", "video"]);
      same(video(a).currentDirection, "sendonly");
    },
  },
  {
    name: "an ICE restart changes the credentials of both, and survives a rollback",
    async run(kit) {
      const { a, b } = pair(kit);
      const first = await negotiate(a, b);
      a.restartIce();
      await a.setLocalDescription(await a.createOffer());
      await a.setLocalDescription({ type: "rollback" });
      const second = await negotiate(a, b);
      const third = await negotiate(a, b);

      same(ufrag(first.offer) === ufrag(second.offer), false);
      same(ufrag(first.answer) === ufrag(second.answer), false);
      same(ufrag(second.offer) === ufrag(third.offer), true);
    },
  },
  {
    name: "candidates name their credentials, and are refused before there is a description for them",
    async run(kit) {
      const { a, b } = pair(kit);
      const gathered = [];
      a.addEventListener("icecandidate", ({ candidate }) => candidate?.candidate && gathered.push(candidate));
      const offer = await a.createOffer();
      await a.setLocalDescription(offer);
      for (let turn = 0; turn < 6_000 && gathered.length === 0; turn += 1) await new Promise((resolve) => setTimeout(resolve, 5));
      const [{ candidate, sdpMid, usernameFragment }] = gathered;

      same(usernameFragment, ufrag(offer.sdp));
      await refuses(b.addIceCandidate({ candidate, sdpMid, usernameFragment }), "InvalidStateError");
      await b.setRemoteDescription({ type: "offer", sdp: offer.sdp });
      await b.addIceCandidate({ candidate, sdpMid, usernameFragment });
      await b.addIceCandidate();
    },
  },
  {
    name: "a peer's sending is announced by a track event, once per beginning",
    async run(kit) {
      const { a, b } = pair(kit);
      const tracks = [];
      b.addEventListener("track", ({ track }) => tracks.push(track.kind));
      await negotiate(a, b);
      await negotiate(a, b);
      a.addTrack(kit.videoTrack());
      await negotiate(a, b);

      same(tracks, ["audio", "video"]);
    },
  },
  {
    name: "a closed connection does nothing any more",
    async run(kit) {
      const { a } = pair(kit);
      a.close();

      same(a.signalingState, "closed");
      await refuses(a.createOffer(), "InvalidStateError");
    },
  },
];
