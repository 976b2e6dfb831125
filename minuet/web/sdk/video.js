/**
 * What video may flow, and what is wished: one object per call, read before every description. It
 * outlives peer connections, since a permission does too.
 */

/** @typedef {RTCRtpTransceiverDirection} Direction */

export class VideoPermit {
  #mine = false;
  #theirs = false;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  #refused = false;
  #revision = 0;

  /** Rises whenever the answer to "what should be negotiated" may have changed. */
  get revision() {
    return this.#revision;
  }

  /** The camera's track, where it is wished and allowed to be sent. */
  get sending() {
    return this.#mine && !this.#refused ? this.#track : null;
  }

  /** True where the peer may send us video. */
  get receiving() {
    return this.#theirs && !this.#refused;
  }

  /** The direction a description of ours may name. @returns {Direction} */
  get direction() {
    if (this.sending) return this.receiving ? "sendrecv" : "sendonly";
    return this.receiving ? "recvonly" : "inactive";
  }

  /**
   * The server's word on who may send.
   *
   * @param {boolean} mine
   * @param {boolean} theirs
   */
  allow(mine, theirs) {
    if (mine === this.#mine && theirs === this.#theirs) return;
    this.#mine = mine;
    this.#theirs = theirs;
    this.#revision += 1;
  }

  /** @param {MediaStreamTrack | null} track what we wish to send */
  wish(track) {
    if (track === this.#track) return;
    this.#track = track;
    this.#revision += 1;
  }

  /** The server refused video of ours: none is tried again before it allows video anew. */
  refuse() {
    this.#refused = true;
    this.#revision += 1;
  }

  /** The server allowed video anew. */
  unblock() {
    if (!this.#refused) return;
    this.#refused = false;
    this.#revision += 1;
  }
}
