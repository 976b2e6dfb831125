/** How far the reliable messages of a session have been read, and how much of that the server knows. */

const ACK_EVERY = 16;

export class Receipts {
  #read = 0;
  #acked = 0;

  /** The number of the last message read. */
  get last() {
    return this.#read;
  }

  /** True where the server does not know yet how far we are. */
  get owed() {
    return this.#read > this.#acked;
  }

  /** True where so much is owed that it is said at once. */
  get urgent() {
    return this.#read - this.#acked >= ACK_EVERY;
  }

  /** A session begins. @param {number} [seq] of its first message */
  begin(seq = 0) {
    this.#read = seq;
    this.#acked = 0;
  }

  /**
   * Counts a message.
   *
   * @param {number} seq
   * @param {boolean} strict nothing may be missing before it
   * @returns {"next"|"known"|"gap"} `known` was seen before; before a `gap` something reliable is missing
   */
  take(seq, strict) {
    if (seq <= this.#read) return "known";
    if (strict && seq > this.#read + 1) return "gap";
    this.#read = seq;
    return "next";
  }

  /** The server has been told. */
  settle() {
    this.#acked = this.#read;
  }
}
