// Real peer connections in one page: what they say and show, what they prefer, and how they reach each other.

const open = [];

export function peer(configuration) {
  const pc = new RTCPeerConnection(configuration);
  open.push(pc);
  return pc;
}

/** Ends every peer that was made. */
export function closeAll() {
  while (open.length) open.pop().close();
}

let devices;
const media = async () => (devices ??= await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));
const microphone = async () => (await media()).getAudioTracks()[0].clone();
export const camera = async () => (await media()).getVideoTracks()[0].clone();
const transceiverOf = (pc, sender) => pc.getTransceivers().find((transceiver) => transceiver.sender === sender);
// A track that is added takes the place of one that was offered; a transceiver that is added is a further section.
export const say = async (pc) => transceiverOf(pc, pc.addTrack(await microphone(), await media()));
export const show = async (pc, options) =>
  options
    ? pc.addTransceiver(await camera(), { streams: [await media()], ...options })
    : transceiverOf(pc, pc.addTrack(await camera(), await media()));
export const shown = (pc) => pc.getTransceivers().find(({ receiver }) => receiver.track.kind === "video");

/** Two peers who can speak; with `video`, whose cameras are on too. */
export async function pair({ video = false, configuration } = {}) {
  const a = peer(configuration);
  const b = peer(configuration);
  await say(a);
  await say(b);
  if (video) {
    await show(a);
    await show(b);
  }
  return [a, b];
}

export function trickle(a, b) {
  for (const [from, to] of [[a, b], [b, a]])
    from.onicecandidate = ({ candidate }) => to.addIceCandidate(candidate ?? undefined).catch(() => {});
}

export async function gathered(pc) {
  const patience = Date.now() + 10_000;
  while (pc.iceGatheringState !== "complete") {
    if (Date.now() > patience) throw new Error(`gathering stands at ${pc.iceGatheringState}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export const prefer = (transceiver, wanted) => {
  const all = RTCRtpReceiver.getCapabilities(transceiver.receiver.track.kind).codecs;
  const chosen = all.filter(({ mimeType }) => wanted.includes(mimeType.split("/")[1].toLowerCase()));
  if (chosen.length === 0) throw new Error(`no codec of ${wanted} here`);
  transceiver.setCodecPreferences(chosen.sort((x, y) => order(x) - order(y)));
  function order({ mimeType }) {
    return wanted.indexOf(mimeType.split("/")[1].toLowerCase());
  }
};
