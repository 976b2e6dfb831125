/**
 * This device's microphone and camera. Nothing is opened before it is asked for, and what is released is
 * really off: its light goes out.
 */

import { MinuetError } from "./errors.js";

const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const VIDEO = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 24, max: 30 } };

export class LocalMedia {
  #devices;
  /** @type {MediaStreamTrack | null} */
  #microphone = null;
  /** @type {MediaStreamTrack | null} */
  #camera = null;

  /** @param {Pick<MediaDevices, "getUserMedia">} [devices] */
  constructor(devices) {
    this.#devices = devices;
  }

  get microphone() {
    return this.#microphone?.readyState === "live" ? this.#microphone : null;
  }

  get camera() {
    return this.#camera?.readyState === "live" ? this.#camera : null;
  }

  /**
   * The microphone, opened at the first call. Call it from a press: browsers ask the user then.
   *
   * @returns {Promise<MediaStreamTrack>}
   * @throws {MinuetError} `media_denied`, `media_missing`, `media_busy`
   */
  async openMicrophone() {
    if (!this.microphone) this.#microphone = (await this.#open({ audio: AUDIO })).getAudioTracks()[0];
    return /** @type {MediaStreamTrack} */ (this.#microphone);
  }

  /**
   * @returns {Promise<MediaStreamTrack>}
   * @throws {MinuetError} `media_denied`, `media_missing`, `media_busy`
   */
  async openCamera() {
    if (!this.camera) this.#camera = (await this.#open({ video: VIDEO })).getVideoTracks()[0];
    return /** @type {MediaStreamTrack} */ (this.#camera);
  }

  closeCamera() {
    this.#camera?.stop();
    this.#camera = null;
  }

  closeMicrophone() {
    this.#microphone?.stop();
    this.#microphone = null;
  }

  /** @param {MediaStreamConstraints} constraints */
  async #open(constraints) {
    const devices = this.#devices ?? globalThis.navigator?.mediaDevices;
    // Browsers hide mediaDevices from pages that are not served over HTTPS or from localhost.
    if (!devices) throw new MinuetError("media_missing", "media devices need a secure page");
    try {
      return await devices.getUserMedia(constraints);
    } catch (cause) {
      throw mediaError(cause);
    }
  }
}

/** @param {unknown} cause */
function mediaError(cause) {
  const name = cause instanceof Error ? cause.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return new MinuetError("media_denied", "not allowed", { cause });
  if (name === "NotFoundError" || name === "OverconstrainedError") return new MinuetError("media_missing", "no such device", { cause });
  return new MinuetError("media_busy", "the device could not be opened", { retryable: true, cause });
}
