// Applies descriptions of the corpus as an eager peer would: one whose microphone and camera are in hand, and who
// takes whatever the other side lets it have. Says what came of it.

let devices;
const media = async () => (devices ??= await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));

async function eager(kinds) {
  const pc = new RTCPeerConnection();
  const seen = { tracks: [], channels: 0 };
  pc.ontrack = ({ track }) => seen.tracks.push(track.kind);
  pc.ondatachannel = () => (seen.channels += 1);
  const stream = await media();
  for (const kind of kinds) {
    if (kind === "application") pc.createDataChannel("eager");
    else if (kind === "audio" || kind === "video")
      pc.addTrack(stream.getTracks().find((track) => track.kind === kind).clone(), stream);
  }
  return { pc, seen };
}

const sections = (sdp) => sdp.split(/\r?\nm=/).slice(1);
const kindOf = (section) => section.split(" ")[0];
const midOf = (section) => section.match(/^a=mid:(.*?)\r?$/m)?.[1];

/** The offer with other mids, in order: what `createOffer` names cannot be chosen. */
function renamed(sdp, mids) {
  let at = 0;
  const named = sdp.replace(/^a=mid:.*?(\r?)$/gm, (_, cr) => `a=mid:${mids[at++]}${cr}`);
  return named.replace(/^a=group:BUNDLE .*?(\r?)$/m, (_, cr) => `a=group:BUNDLE ${mids.join(" ")}${cr}`);
}

/** What flows between a peer and the one whose description it has applied. */
function outcome({ pc, seen }) {
  const flows = (kind) => pc.getTransceivers()
    .filter(({ receiver }) => receiver.track.kind === kind)
    .map(({ currentDirection }) => currentDirection)
    .filter((direction) => direction && direction !== "inactive" && direction !== "stopped");
  return { refused: null, audio: flows("audio"), video: flows("video"), tracks: seen.tracks, data: pc.sctp !== null };
}

/** Fills every section that was offered with a device, and wants both directions of it. */
async function fill(pc) {
  const stream = await media();
  for (const transceiver of pc.getTransceivers()) {
    if (transceiver.currentDirection === "stopped") continue;
    const { kind } = transceiver.receiver.track;
    await transceiver.sender.replaceTrack(stream.getTracks().find((track) => track.kind === kind).clone());
    transceiver.direction = "sendrecv";
  }
}

async function answers({ pc }, offer, { filled = false } = {}) {
  await pc.setRemoteDescription({ type: "offer", sdp: offer });
  if (filled) await fill(pc);
  await pc.setLocalDescription(await pc.createAnswer());
}

/** Offers for the first time, sections of these kinds with these mids. */
async function offersFirst({ pc }, offer) {
  const made = await pc.createOffer();
  await pc.setLocalDescription({ type: "offer", sdp: renamed(made.sdp, sections(offer).map(midOf)) });
}

/** Has answered the offer, and offers the same sections in its turn, all directions wanted. */
async function offersNext(peer, offer) {
  await answers(peer, offer);
  peer.seen.tracks.length = 0;
  await fill(peer.pc);
  await peer.pc.setLocalDescription(await peer.pc.createOffer({ iceRestart: true }));
}

/** One way in which a peer comes to apply a description. Returns the outcome, or why it refuses. */
async function one(kinds, apply) {
  const peer = await eager(kinds);
  try {
    await apply(peer);
    return outcome(peer);
  } catch (error) {
    return { refused: String(error) };
  } finally {
    for (const { sender } of peer.pc.getTransceivers()) sender.track?.stop();
    peer.pc.close();
  }
}

// An offer meets a peer whose tracks wait for sections, and one who fills the sections that come. An answer meets one
// who has never negotiated, and one who has: each bears what the other does not (extension numbers, foreign sections).
async function replay({ kind, sdp, offer }) {
  if (kind === "offer")
    return [
      await one(["audio", "video"], (peer) => answers(peer, sdp)),
      await one([], (peer) => answers(peer, sdp, { filled: true })),
    ];
  const taking = (prepare) => async (peer) => {
    await prepare(peer, offer);
    await peer.pc.setRemoteDescription({ type: "answer", sdp });
  };
  return [await one(sections(offer).map(kindOf), taking(offersFirst)), await one([], taking(offersNext))];
}

/** Replays all cases, one after the other. Returns by id what came of each, one outcome for each way. */
export async function replayAll(cases) {
  const outcomes = {};
  for (const each of cases) outcomes[each.id] = await replay(each);
  return outcomes;
}
