/**
 * RTCPeerConnection's signaling without media: states, transceivers, descriptions, rollback, ICE restarts,
 * candidates, as far as contracts/peer-connection.mjs describes the real one.
 */

let lastName = 0;

function name(prefix) {
  lastName += 1;
  return `${prefix}${lastName}`;
}

const invalidState = (why) => new DOMException(why, "InvalidStateError");

/** The sections of a description: kind, mid, direction, ufrag. */
export function sectionsOf(sdp) {
  return sdp
    .split(/^(?=m=)/m)
    .slice(1)
    .map((text) => ({
      kind: /^m=(\w+)/.exec(text)[1],
      mid: /^a=mid:(\S+)/m.exec(text)[1],
      direction: /^a=(sendrecv|sendonly|recvonly|inactive)/m.exec(text)[1],
      ufrag: /^a=ice-ufrag:(\S+)/m.exec(text)[1],
    }));
}

function write(sections, ufrag) {
  const lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", `a=group:BUNDLE ${sections.map(({ mid }) => mid).join(" ")}`];
  for (const { kind, mid, direction } of sections) {
    lines.push(`m=${kind} 9 UDP/TLS/RTP/SAVPF 96`, "c=IN IP4 0.0.0.0", `a=ice-ufrag:${ufrag}`, `a=mid:${mid}`, `a=${direction}`);
  }
  return `${lines.join("\r\n")}\r\n`;
}

const sends = (direction) => direction === "sendrecv" || direction === "sendonly";
const receives = (direction) => direction === "sendrecv" || direction === "recvonly";

function directionOf(send, receive) {
  if (send) return receive ? "sendrecv" : "sendonly";
  return receive ? "recvonly" : "inactive";
}

export class FakeTrack extends EventTarget {
  readyState = "live";
  enabled = true;
  muted = false;

  constructor(kind) {
    super();
    this.kind = kind;
    this.id = name("track");
  }

  stop() {
    this.readyState = "ended";
  }
}

class FakeTransceiver {
  mid = null;
  currentDirection = null;
  direction;

  constructor(kind, track, direction, addedByUs) {
    this.kind = kind;
    this.addedByUs = addedByUs;
    this.direction = direction;
    const sender = { track };
    sender.replaceTrack = async (next) => {
      sender.track = next;
    };
    this.sender = sender;
    this.receiver = { track: new FakeTrack(kind) };
  }
}

export class FakePeerConnection extends EventTarget {
  signalingState = "stable";
  connectionState = "new";
  localDescription = null;
  remoteDescription = null;
  candidates = [];
  #configuration;
  #transceivers = [];
  /** Transceivers by their place in the description. */
  #places = [];
  #ufrag = null;
  #offeredUfrag = null;
  #restarting = false;
  #restartOffered = false;
  #lastOffer = null;
  #lastAnswer = null;
  #before = null;

  constructor(configuration = {}) {
    super();
    this.#configuration = configuration;
  }

  getConfiguration() {
    return { ...this.#configuration };
  }

  setConfiguration(configuration) {
    this.#configuration = configuration;
  }

  getTransceivers() {
    return [...this.#transceivers];
  }

  addTrack(track) {
    this.#open();
    const idle = this.#transceivers.find(({ kind, sender, currentDirection }) => kind === track.kind && sender.track === null && !sends(currentDirection ?? ""));
    if (idle) {
      idle.sender.track = track;
      idle.direction = directionOf(true, receives(idle.direction));
      idle.addedByUs = true;
      return idle.sender;
    }
    const transceiver = new FakeTransceiver(track.kind, track, "sendrecv", true);
    this.#transceivers.push(transceiver);
    return transceiver.sender;
  }

  restartIce() {
    this.#restarting = true;
  }

  async createOffer() {
    this.#open();
    if (!["stable", "have-local-offer"].includes(this.signalingState)) throw invalidState(`createOffer in ${this.signalingState}`);
    await null;
    const ufrag = this.#ufrag === null || this.#restarting ? name("u") : this.#ufrag;
    this.#restartOffered = this.#restarting;
    const places = [...this.#places, ...this.#transceivers.filter((one) => one.mid === null)];
    const sections = places.map((one, index) => ({ kind: one.kind, mid: one.mid ?? String(index), direction: one.direction }));
    this.#lastOffer = { sdp: write(sections, ufrag), ufrag, places };
    return { type: "offer", sdp: this.#lastOffer.sdp };
  }

  async createAnswer() {
    this.#open();
    if (this.signalingState !== "have-remote-offer") throw invalidState(`createAnswer in ${this.signalingState}`);
    await null;
    const offered = sectionsOf(this.remoteDescription.sdp);
    const restarted = this.#before.remote !== null && sectionsOf(this.#before.remote)[0].ufrag !== offered[0].ufrag;
    const ufrag = this.#ufrag === null || restarted ? name("u") : this.#ufrag;
    const sections = offered.map(({ kind, mid, direction }, index) => {
      const ours = this.#places[index].direction;
      return { kind, mid, direction: directionOf(sends(ours) && receives(direction), receives(ours) && sends(direction)) };
    });
    this.#lastAnswer = { sdp: write(sections, ufrag), ufrag };
    return { type: "answer", sdp: this.#lastAnswer.sdp };
  }

  async setLocalDescription(description) {
    this.#open();
    await null;
    if (description.type === "rollback") return this.#rollBack("have-local-offer");
    if (description.type === "offer") {
      if (this.signalingState !== "stable") throw invalidState(`a local offer in ${this.signalingState}`);
      if (description.sdp !== this.#lastOffer?.sdp) throw new DOMException("not what createOffer gave", "InvalidModificationError");
      this.#remember();
      this.#places = this.#lastOffer.places;
      this.#places.forEach((one, index) => (one.mid ??= String(index)));
      this.#offeredUfrag = this.#lastOffer.ufrag;
      this.localDescription = description;
      this.#move("have-local-offer");
      this.#gather(this.#offeredUfrag, this.#before.ufrag);
      return undefined;
    }
    if (this.signalingState !== "have-remote-offer") throw invalidState(`a local answer in ${this.signalingState}`);
    if (description.sdp !== this.#lastAnswer?.sdp) throw new DOMException("not what createAnswer gave", "InvalidModificationError");
    this.localDescription = description;
    sectionsOf(description.sdp).forEach(({ direction }, index) => (this.#places[index].currentDirection = direction));
    const before = this.#ufrag;
    this.#ufrag = this.#lastAnswer.ufrag;
    this.#before = null;
    this.#move("stable");
    this.#gather(this.#ufrag, before);
    return undefined;
  }

  async setRemoteDescription(description) {
    this.#open();
    await null;
    if (description.type === "rollback") return this.#rollBack("have-remote-offer");
    if (description.type === "offer") {
      if (this.signalingState === "have-local-offer") this.#rollBack("have-local-offer");
      if (this.signalingState !== "stable") throw invalidState(`a remote offer in ${this.signalingState}`);
      this.#remember();
      this.remoteDescription = description;
      sectionsOf(description.sdp).forEach((section, index) => this.#place(section, index));
      this.#move("have-remote-offer");
      return undefined;
    }
    if (this.signalingState !== "have-local-offer") throw invalidState(`a remote answer in ${this.signalingState}`);
    const sections = sectionsOf(description.sdp);
    if (sections.length !== this.#places.length) throw new DOMException("not an answer to this offer", "InvalidAccessError");
    this.remoteDescription = description;
    sections.forEach(({ direction }, index) => {
      const transceiver = this.#places[index];
      const before = transceiver.currentDirection;
      const offered = sectionsOf(this.localDescription.sdp)[index].direction;
      transceiver.currentDirection = directionOf(receives(direction) && sends(offered), sends(direction) && receives(offered));
      this.#announce(transceiver, before, sends(direction));
    });
    this.#ufrag = this.#offeredUfrag;
    if (this.#restartOffered) this.#restarting = false;
    this.#before = null;
    this.#move("stable");
    return undefined;
  }

  async addIceCandidate(candidate) {
    this.#open();
    if (this.remoteDescription === null) throw invalidState("no remote description");
    if (!candidate || candidate.candidate === "") return;
    const known = sectionsOf(this.remoteDescription.sdp).map(({ ufrag }) => ufrag);
    if (candidate.usernameFragment && !known.includes(candidate.usernameFragment)) throw new DOMException("of another generation", "OperationError");
    this.candidates.push(candidate.candidate);
  }

  /** The network's part, told by the test. */
  become(connectionState) {
    this.connectionState = connectionState;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  close() {
    this.signalingState = "closed";
    this.connectionState = "closed";
  }

  #open() {
    if (this.signalingState === "closed") throw invalidState("closed");
  }

  #remember() {
    this.#before = {
      places: [...this.#places],
      transceivers: [...this.#transceivers],
      mids: new Map(this.#transceivers.map((one) => [one, one.mid])),
      local: this.localDescription,
      remote: this.remoteDescription?.sdp ?? null,
      remoteDescription: this.remoteDescription,
      ufrag: this.#ufrag,
    };
  }

  #rollBack(from) {
    if (this.signalingState !== from) throw invalidState(`rollback in ${this.signalingState}`);
    const { places, transceivers, mids, local, remoteDescription } = this.#before;
    this.#places = places;
    // A transceiver that only the peer's offer made goes with it, unless it has been given a track since.
    this.#transceivers = this.#transceivers.filter((one) => transceivers.includes(one) || one.addedByUs);
    for (const one of this.#transceivers) one.mid = mids.get(one) ?? null;
    this.localDescription = local;
    this.remoteDescription = remoteDescription;
    this.#before = null;
    this.#move("stable");
  }

  #place({ kind, mid, direction }, index) {
    let transceiver = this.#places[index];
    if (!transceiver) {
      // Only what addTrack made joins a section of the peer's.
      transceiver = this.#transceivers.find((one) => one.mid === null && one.kind === kind && one.addedByUs);
      if (!transceiver) {
        transceiver = new FakeTransceiver(kind, null, "recvonly", false);
        this.#transceivers.push(transceiver);
      }
      transceiver.mid = mid;
      this.#places[index] = transceiver;
    }
    this.#announce(transceiver, transceiver.currentDirection, sends(direction));
  }

  #announce(transceiver, before, sending) {
    if (!sending || receives(before ?? "")) return;
    const event = new Event("track");
    event.track = transceiver.receiver.track;
    event.transceiver = transceiver;
    event.streams = [];
    this.dispatchEvent(event);
  }

  #gather(ufrag, before) {
    if (ufrag === before) return;
    const mid = this.#places[0].mid;
    for (const number of [1, 2]) {
      setImmediate(() => this.#candidate({ candidate: `candidate:${number} 1 udp 1 192.0.2.1 ${number} typ host ufrag ${ufrag}`, sdpMid: mid, usernameFragment: ufrag }));
    }
    setImmediate(() => this.#candidate(null));
  }

  #candidate(candidate) {
    if (this.signalingState === "closed") return;
    const event = new Event("icecandidate");
    event.candidate = candidate;
    this.dispatchEvent(event);
  }

  #move(signalingState) {
    this.signalingState = signalingState;
    this.dispatchEvent(new Event("signalingstatechange"));
  }
}
