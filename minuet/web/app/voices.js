/** Draws sound as it is heard: the peer's voice around the disc, ours in the button and while waiting. */

import { LevelMeter } from "../sdk/index.js";
import { byId, reducedMotion } from "./dom.js";

const BARS = 72;
const BANDS = 24;

/** @type {AudioContext | null} */
let context = null;

/** To be called from a press: browsers let no page make sound before one. */
export function wakeAudio() {
  context ??= new AudioContext();
  if (context.state === "suspended") void context.resume();
}

/** The voices of one moment, drawn at each frame. */
export class Voices {
  /** @type {LevelMeter | null} */
  #mine = null;
  /** @type {LevelMeter | null} */
  #theirs = null;
  /** @type {MediaStreamTrack | null} */
  #mineTrack = null;
  /** @type {MediaStreamTrack | null} */
  #theirsTrack = null;
  #bands = new Float32Array(BANDS);
  #shown = new Float32Array(BARS);
  /** The loudness now, 0 to 1; for tests and for those who draw otherwise. */
  level = { mine: 0, theirs: 0 };

  /** @param {MediaStreamTrack | null} track */
  listenToMine(track) {
    if (track === this.#mineTrack) return;
    this.#mine?.close();
    this.#mineTrack = track;
    this.#mine = track && context ? new LevelMeter(context, track) : null;
  }

  /** @param {MediaStreamTrack | null} track */
  listenToTheirs(track) {
    if (track === this.#theirsTrack) return;
    this.#theirs?.close();
    this.#theirsTrack = track;
    this.#theirs = track && context ? new LevelMeter(context, track) : null;
  }

  /** One frame of the call. @param {boolean} muted */
  drawCall(muted) {
    this.level.mine = muted ? 0 : (this.#mine?.read() ?? 0);
    this.level.theirs = this.#theirs?.read() ?? 0;
    this.#drawOrbit();
    this.#drawButton(muted);
  }

  /** One frame of waiting. */
  drawWaiting() {
    this.level.mine = this.#mine?.read() ?? 0;
    this.#mine?.readBands(this.#bands);
    const { pen, width, height } = prepare(byId("mic-check"));
    const colour = tone("--rose");
    const bars = 32;
    const gap = width / bars;
    for (let bar = 0; bar < bars; bar += 1) {
      // From the middle outwards, so that a voice opens like a fan.
      const distance = Math.abs(bar - (bars - 1) / 2) / (bars / 2);
      const loud = this.#bands[Math.floor(distance * (BANDS - 1))] * (1 - distance * 0.5);
      const tall = Math.max(3, loud * height * 0.95);
      pen.globalAlpha = 0.35 + 0.65 * Math.min(1, loud * 1.6);
      pen.fillStyle = colour;
      pen.beginPath();
      pen.roundRect(bar * gap + gap * 0.25, (height - tall) / 2, gap * 0.5, tall, gap * 0.25);
      pen.fill();
    }
  }

  #drawOrbit() {
    const canvas = /** @type {HTMLCanvasElement} */ (byId("voice"));
    if (canvas.offsetParent === null) return;
    const { pen, width } = prepare(canvas);
    const centre = width / 2;
    const inner = width * 0.31;
    const room = width * 0.125;
    pen.strokeStyle = tone("--violet");
    pen.lineCap = "round";
    pen.lineWidth = Math.max(2.5, width * 0.0105);
    if (reducedMotion.matches) {
      // One quiet arc instead of seventy dancing bars.
      pen.beginPath();
      pen.arc(centre, centre, inner + room / 2, -Math.PI / 2, -Math.PI / 2 + Math.PI * 2 * Math.max(0.001, Math.round(this.level.theirs * 12) / 12));
      pen.stroke();
      return;
    }
    this.#theirs?.readBands(this.#bands);
    if (!this.#theirs) this.#bands.fill(0);
    for (let bar = 0; bar < BARS; bar += 1) {
      // Each band appears four times around the circle, so that a voice has no seam.
      const phase = (bar / BARS) * 4;
      const folded = phase % 2 < 1 ? phase % 1 : 1 - (phase % 1);
      const target = this.#bands[Math.floor(folded * (BANDS - 1))] * this.level.theirs;
      this.#shown[bar] = target > this.#shown[bar] ? this.#shown[bar] * 0.4 + target * 0.6 : this.#shown[bar] * 0.86;
      const angle = (bar / BARS) * Math.PI * 2 - Math.PI / 2;
      const reach = inner + 2 + this.#shown[bar] * room;
      pen.globalAlpha = 0.28 + 0.72 * Math.min(1, this.#shown[bar] * 1.5);
      pen.beginPath();
      pen.moveTo(centre + Math.cos(angle) * inner, centre + Math.sin(angle) * inner);
      pen.lineTo(centre + Math.cos(angle) * reach, centre + Math.sin(angle) * reach);
      pen.stroke();
    }
  }

  /** @param {boolean} muted */
  #drawButton(muted) {
    const { pen, width } = prepare(byId("mic-level"));
    if (muted) return;
    pen.strokeStyle = tone("--rose");
    pen.lineWidth = 4;
    pen.lineCap = "round";
    pen.beginPath();
    pen.arc(width / 2, width / 2, width / 2 - 3, -Math.PI / 2, -Math.PI / 2 + Math.PI * 2 * Math.max(0.001, this.level.mine));
    pen.stroke();
  }
}

/** A cleared canvas as sharp as the screen. @param {HTMLElement} element */
function prepare(element) {
  const canvas = /** @type {HTMLCanvasElement} */ (element);
  const { clientWidth: width, clientHeight: height } = canvas;
  const density = Math.min(3, devicePixelRatio);
  if (canvas.width !== Math.round(width * density)) {
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
  }
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/** @param {string} name of a colour in base.css */
function tone(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}
