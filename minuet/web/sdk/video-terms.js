/**
 * Who may send video: the server's word, and ours where we took something back. What we took back stays taken back until
 * the server has confirmed it, whatever older news says meanwhile.
 */

/** @typedef {import("./call-media.js").Sides} Sides */

export class VideoTerms {
  #seat;
  /** What we took back and the server has not confirmed. @type {Sides | null} */
  #ceiling = null;
  /** @type {Sides} */
  allowed = { self: false, peer: false };

  /** @param {import("./protocol.js").Seat} seat */
  constructor(seat) {
    this.#seat = seat;
  }

  /**
   * The server's word.
   *
   * @param {import("./protocol.js").VideoAllowed} word
   * @returns {{changed: boolean, wider: boolean}}
   */
  hear(word) {
    const before = this.allowed;
    const self = word[this.#seat] && this.#ceiling?.self !== false;
    const peer = word[this.#seat === "a" ? "b" : "a"] && this.#ceiling?.peer !== false;
    this.allowed = { self, peer };
    return { changed: self !== before.self || peer !== before.peer, wider: (self && !before.self) || (peer && !before.peer) };
  }

  /**
   * Our own word.
   *
   * @param {Sides} left what is still allowed
   * @returns {() => void} to be called when the server has answered
   */
  takeBack(left) {
    this.allowed = left;
    this.#ceiling = left;
    return () => {
      if (this.#ceiling === left) this.#ceiling = null;
    };
  }
}
