/**
 * The pictures of a call. The peer's is shown while the call says that it may be and while it moves; until then a veil
 * stands in its place, which shows a shape that is nobody. Our own is shown as long as the camera is open.
 */

import { byId, setIcon } from "./dom.js";

/** @typedef {import("../sdk/index.js").Call} Call */

/** A camera that has shown nothing for this long is taken for off. */
const STILL_MS = 2_000;

export class Picture {
  /** How many pictures of the peer have been shown, and when the last one was. */
  #frames = { count: 0, at: 0 };

  /** @param {Call} call @param {MediaStreamTrack | null} camera ours */
  render(call, camera) {
    put("remote-video", call.remoteVideo);
    put("local-video", camera);
    const text = veilText(call);
    byId("stage").toggleAttribute("data-veil", text !== "");
    byId("veil-text").textContent = text;
    // The controller who only watches gets the button too: it lets her show herself.
    byId("preview").hidden = !call.videoAllowed.self && !(call.videoAllowed.peer && call.role !== "guest");
    byId("camera-label").textContent = camera ? "Camera off" : call.videoAllowed.self ? "Camera on" : "Show yourself";
    setIcon("camera-icon", camera ? "video-off" : "video");
    this.look();
  }

  /** One frame: the picture takes the stage while it moves. */
  look() {
    const video = /** @type {HTMLVideoElement} */ (byId("remote-video"));
    const frames = video.srcObject ? video.getVideoPlaybackQuality().totalVideoFrames : 0;
    if (frames !== this.#frames.count) this.#frames = { count: frames, at: performance.now() };
    const moving = frames > 0 && performance.now() - this.#frames.at < STILL_MS;
    byId("stage").toggleAttribute("data-video", moving);
  }

  clear() {
    put("remote-video", null);
    put("local-video", null);
    byId("stage").removeAttribute("data-veil");
    this.look();
  }
}

/** What the veil waits for; empty where there is none. @param {Call} call */
function veilText(call) {
  const name = call.peer.first_name;
  if (call.videoAllowed.peer) return `No picture of ${name} at the moment`;
  if (!call.pending.video) return "";
  return call.pending.video.mine ? `Hidden until ${name} says yes` : "Hidden until you say yes";
}

/** @param {"remote-video"|"local-video"} id @param {MediaStreamTrack | null} track */
function put(id, track) {
  const video = /** @type {HTMLVideoElement} */ (byId(id));
  const stream = /** @type {MediaStream | null} */ (video.srcObject);
  if ((stream?.getVideoTracks()[0] ?? null) !== track) video.srcObject = track ? new MediaStream([track]) : null;
  video.hidden = track === null;
}
