/**
 * What can go wrong, as one class. `code` is the contract, from the server's closed list or one of
 * ours below; `message` is for people who read logs, never for users.
 */

/**
 * Codes that only the client raises; everything else comes from the server (docs/errors.md).
 *
 * - `disconnected`: the request was not answered before its session was lost. It may have been done.
 * - `timeout`: no answer in time. It may have been done.
 * - `overloaded`: too many requests are waiting for the connection to come back.
 * - `closed`: the connection was closed for good; see `details.close_code`.
 * - `media_denied`, `media_missing`, `media_busy`: microphone or camera could not be opened.
 * - `network`: a REST request did not reach the server.
 *
 * @typedef {"disconnected"|"timeout"|"overloaded"|"closed"|"media_denied"|"media_missing"|"media_busy"|"network"} ClientErrorCode
 */

/**
 * @typedef {object} MinuetErrorOptions
 * @property {boolean} [retryable]
 * @property {number} [retryAfterMs]
 * @property {unknown} [details]
 * @property {unknown} [cause]
 */

export class MinuetError extends Error {
  /**
   * @param {string} code
   * @param {string} [message]
   * @param {MinuetErrorOptions} [options]
   */
  constructor(code, message = code, { retryable = false, retryAfterMs, details, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "MinuetError";
    /** The contract. @type {string} */
    this.code = code;
    /** True where the same request may succeed later. */
    this.retryable = retryable;
    /** Milliseconds to wait before trying again, where the server said so. @type {number | undefined} */
    this.retryAfterMs = retryAfterMs;
    /** @type {unknown} */
    this.details = details;
  }

  /**
   * The error that an `error` frame or a REST error body describes.
   *
   * @param {unknown} body
   */
  static fromWire(body) {
    const data = /** @type {Record<string, unknown>} */ (body ?? {});
    const retryAfterMs = typeof data.retry_after_ms === "number" ? data.retry_after_ms : undefined;
    return new MinuetError(
      typeof data.code === "string" ? data.code : "internal",
      typeof data.message === "string" ? data.message : undefined,
      { retryable: data.retryable === true, retryAfterMs, details: data.details },
    );
  }
}

/** The error of a request whose session was lost. */
export function disconnected() {
  return new MinuetError("disconnected", "the session was lost before the answer came", { retryable: true });
}
