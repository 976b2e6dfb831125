/**
 * ICE candidates on their way out and in. A candidate belongs to a description; it is not sent before
 * that description has been accepted, and not applied before that description has been.
 */

const BATCH_MS = 50;
// What the server takes for one generation; more of them would only spend the call's budget.
const CANDIDATES_MAX = 40;
const BUFFERED_MAX = 120;

/**
 * @typedef {import("./protocol.js").WireCandidate} WireCandidate
 * @typedef {{negotiation: number, of: import("./protocol.js").Of}} Key
 * @typedef {Key & {candidates: WireCandidate[], complete: boolean}} Batch
 * @typedef {{key: Key, ufrags: Set<string>, accepted: boolean, waiting: WireCandidate[], complete: boolean, sent: number}} Generation
 */

/** The ICE user fragments a description names. @param {string} sdp */
export function ufragsOf(sdp) {
  return new Set([...sdp.matchAll(/^a=ice-ufrag:(\S+)/gm)].map((match) => match[1]));
}

/** Gathers our candidates and sends them in batches, once their description has been accepted. */
export class CandidateOutbox {
  /** The description in use. @type {Generation | null} */
  #current = null;
  /** The one that is still being judged. @type {Generation | null} */
  #proposed = null;
  /** @type {unknown} */
  #timer = null;
  #send;
  #runtime;

  /**
   * @param {(batch: Batch) => void} send
   * @param {import("./runtime.js").Runtime} runtime
   */
  constructor(send, runtime) {
    this.#send = send;
    this.#runtime = runtime;
  }

  /** A description of ours is about to be judged. @param {Key} key @param {string} sdp */
  propose(key, sdp) {
    this.#proposed = { key, ufrags: ufragsOf(sdp), accepted: false, waiting: [], complete: false, sent: 0 };
  }

  /** The server has accepted it: what waited goes out. */
  accept() {
    if (!this.#proposed) return;
    const before = this.#current;
    this.#current = this.#proposed;
    this.#proposed = null;
    this.#current.accepted = true;
    // Same ICE credentials: candidates of the description before still count, and are not gathered again.
    if (before && sharesUfrag(before, this.#current)) this.#current.waiting.unshift(...before.waiting);
    this.#schedule();
  }

  /** It was refused or rolled back: its candidates are of no use. */
  discard() {
    this.#proposed = null;
  }

  /** @param {{candidate: string, sdpMid: string | null, usernameFragment?: string | null} | null} candidate null at the end of gathering */
  add(candidate) {
    const ufrag = candidate ? (candidate.usernameFragment ?? /\bufrag (\S+)/.exec(candidate.candidate)?.[1] ?? null) : null;
    const generation = this.#generationOf(ufrag);
    if (!generation) return;
    if (!candidate || candidate.candidate === "") generation.complete = true;
    else if (generation.sent + generation.waiting.length < CANDIDATES_MAX)
      generation.waiting.push({ candidate: candidate.candidate, mid: candidate.sdpMid, ufrag });
    if (generation.accepted) this.#schedule();
  }

  close() {
    if (this.#timer !== null) this.#runtime.clearTimeout(this.#timer);
    this.#timer = null;
    this.#current = null;
    this.#proposed = null;
  }

  /** @param {string | null} ufrag */
  #generationOf(ufrag) {
    if (ufrag !== null && this.#current?.ufrags.has(ufrag)) return this.#current;
    return this.#proposed ?? this.#current;
  }

  #schedule() {
    this.#timer ??= this.#runtime.setTimeout(() => this.#flush(), BATCH_MS);
  }

  #flush() {
    this.#timer = null;
    const generation = this.#current;
    if (!generation || (generation.waiting.length === 0 && !generation.complete)) return;
    const { waiting, complete } = generation;
    generation.waiting = [];
    generation.complete = false;
    generation.sent += waiting.length;
    this.#send({ ...generation.key, candidates: waiting, complete });
  }
}

/** @param {Generation} one @param {Generation} other */
function sharesUfrag(one, other) {
  return [...one.ufrags].some((ufrag) => other.ufrags.has(ufrag));
}

/** Holds the peer's candidates until their description is applied. */
export class CandidateInbox {
  /** @type {Batch[]} */
  #waiting = [];
  #apply;

  /** @param {(candidate: WireCandidate | null) => Promise<void>} apply null means there are no more */
  constructor(apply) {
    this.#apply = apply;
  }

  /**
   * @param {Batch} batch
   * @param {{key: Key, ufrags: Set<string>} | null} remote the peer's description in use
   */
  async take(batch, remote) {
    if (remote && (sameKey(batch, remote.key) || batch.candidates.some(({ ufrag }) => ufrag !== null && remote.ufrags.has(ufrag)))) {
      await this.#applyBatch(batch);
      return;
    }
    this.#waiting.push(batch);
    let held = this.#waiting.reduce((count, { candidates }) => count + candidates.length, 0);
    // The oldest go first: they belong to a negotiation that has likely been given up.
    while (held > BUFFERED_MAX) held -= this.#waiting.shift()?.candidates.length ?? held;
  }

  /** The description of `key` has been applied. @param {Key} key */
  async release(key) {
    const ready = this.#waiting.filter((batch) => sameKey(batch, key));
    this.#waiting = this.#waiting.filter((batch) => !sameKey(batch, key));
    for (const batch of ready) await this.#applyBatch(batch);
  }

  clear() {
    this.#waiting = [];
  }

  /** @param {Batch} batch */
  async #applyBatch({ candidates, complete }) {
    for (const candidate of candidates) await this.#apply(candidate);
    if (complete) await this.#apply(null);
  }
}

/** @param {Key} one @param {Key} other */
function sameKey(one, other) {
  return one.negotiation === other.negotiation && one.of === other.of;
}
