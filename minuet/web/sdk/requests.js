/**
 * Requests that wait for their answer. Ids rise over the life of the client, so over resumes too:
 * the server does nothing twice whose id is not above the last one it handled. Knows nothing of sockets.
 */

import { MinuetError } from "./errors.js";

const WAITING_MAX = 64;

/**
 * @typedef {object} Pending
 * @property {number} id
 * @property {string} type
 * @property {object} data
 * @property {(data: any) => void} resolve
 * @property {(error: MinuetError) => void} reject
 * @property {unknown} timer
 */

export class Requests {
  #lastId = 0;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #runtime;

  /** @param {import("./runtime.js").Runtime} runtime */
  constructor(runtime) {
    this.#runtime = runtime;
  }

  /**
   * Books a request. It is the caller's to send the frame.
   *
   * @param {string} type
   * @param {object} data
   * @param {number} timeoutMs
   * @returns {{id: number, answer: Promise<any>}}
   */
  book(type, data, timeoutMs) {
    if (this.#pending.size >= WAITING_MAX) {
      const error = new MinuetError("overloaded", "too many requests are waiting", { retryable: true });
      return { id: 0, answer: Promise.reject(error) };
    }
    this.#lastId += 1;
    const id = this.#lastId;
    const answer = new Promise((resolve, reject) => {
      const timer = this.#runtime.setTimeout(() => {
        this.fail(id, new MinuetError("timeout", `${type} was not answered in time`, { retryable: true }));
      }, timeoutMs);
      this.#pending.set(id, { id, type, data, resolve, reject, timer });
    });
    return { id, answer };
  }

  /** @param {number} id @param {unknown} data */
  settle(id, data) {
    this.#take(id)?.resolve(data ?? {});
  }

  /** @param {number} id @param {MinuetError} error */
  fail(id, error) {
    this.#take(id)?.reject(error);
  }

  /** True while `id` waits for its answer. @param {number} id */
  has(id) {
    return this.#pending.has(id);
  }

  /** The unanswered requests above `lastId`, in the order of their ids. @param {number} [lastId] */
  unanswered(lastId = 0) {
    return [...this.#pending.values()].filter((request) => request.id > lastId);
  }

  /** Every waiting request fails. @param {() => MinuetError} makeError */
  failAll(makeError) {
    for (const id of [...this.#pending.keys()]) this.fail(id, makeError());
  }

  /** @param {number} id */
  #take(id) {
    const request = this.#pending.get(id);
    if (!request) return undefined;
    this.#pending.delete(id);
    this.#runtime.clearTimeout(request.timer);
    return request;
  }
}
