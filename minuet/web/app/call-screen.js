/** The call as it is seen and steered. It reads the call after each change and draws it whole; it keeps no copy. */

import { Asks } from "./asks.js";
import { byId, setIcon } from "./dom.js";
import { Picture } from "./picture.js";
import { Countdown, Ring } from "./ring.js";
import { passing, say, screen, setInitial } from "./screens.js";
import { askDirection, closeDirection, tellAddress } from "./sheets.js";
import { addressLabel, callStatus, facts, failure } from "./words.js";

/**
 * @typedef {import("../sdk/index.js").Call} Call
 * @typedef {import("../sdk/index.js").MinuetClient} MinuetClient
 */

const MARKS_MS = [30_000, 10_000];

export class CallScreen {
  #client;
  #voices;
  #ring = new Ring({ ring: "ring", dot: "ring-dot", clock: "clock" });
  #countdown = new Countdown(MARKS_MS, (ms) => say(`${ms / 1_000} seconds left`));
  #asks;
  /** @type {Call | null} */
  #call = null;
  /** The user said yes to being seen, by asking for video or by allowing it both ways. */
  #cameraWished = false;
  /** The user answered the invitation to turn the camera on. */
  #invitationAnswered = false;
  #saidYes = false;
  #lastState = "";
  /** The peer's session was gone at some time since the call was last whole. */
  #peerWasAway = false;
  #picture = new Picture();
  /** We hung up, or blocked, ourselves. */
  left = false;

  /** @param {MinuetClient} client @param {import("./voices.js").Voices} voices */
  constructor(client, voices) {
    this.#client = client;
    this.#voices = voices;
    this.#asks = new Asks(() => client.connection.clock.now());
  }

  /** @param {Call} call */
  open(call) {
    this.#call = call;
    this.#cameraWished = false;
    this.#invitationAnswered = false;
    this.#saidYes = false;
    this.left = false;
    this.#lastState = "";
    this.#peerWasAway = false;
    this.#countdown = new Countdown(MARKS_MS, (ms) => say(`${ms / 1_000} seconds left`));
    setInitial("peer", call.peer.first_name);
    byId("peer-name").textContent = call.peer.first_name;
    byId("peer-facts").textContent = facts(call.peer);
    const audio = byId("remote-audio");
    /** @type {HTMLAudioElement} */ (audio).srcObject = call.remoteStream;
    call.on("remotestream", () => this.#play());
    call.on("video.allowed", () => void this.#videoAllowed());
    call.on("video.denied", () => this.#videoDenied());
    call.on("video.revoked", () => this.#videoRevoked());
    call.on("video.refused", (error) => passing(failure(error)));
    call.on("change", () => this.render());
    this.render();
  }

  close() {
    this.#asks.clear();
    closeDirection();
    this.#picture.clear();
    /** @type {HTMLAudioElement} */ (byId("remote-audio")).srcObject = null;
    this.#voices.listenToTheirs(null);
    this.#call = null;
  }

  /** One frame. */
  draw() {
    const call = this.#call;
    if (!call) return;
    this.#ring.draw(call.remainingMs, call.clockMs);
    this.#countdown.at(call.remainingMs);
    this.#voices.drawCall(call.muted);
    this.#picture.look();
    this.#asks.draw();
  }

  render() {
    const call = this.#call;
    if (!call) return;
    byId("screen-call").dataset.state = call.state;
    this.#renderStatus(call);
    this.#renderDock(call);
    this.#picture.render(call, this.#client.media.camera);
    this.#renderAddress(call);
    this.#renderAsks(call);
    this.#voices.listenToMine(this.#client.media.microphone);
    this.#voices.listenToTheirs(call.remoteStream?.getAudioTracks()[0] ?? null);
  }

  /** The user pressed mute. */
  mute() {
    const call = this.#call;
    if (!call) return;
    call.mute(!call.muted);
    say(call.muted ? "You are muted" : "You can be heard");
  }

  /** The user pressed the video button: what that means depends on role and state. */
  async video() {
    const call = this.#call;
    if (!call || byId("video").getAttribute("aria-disabled") === "true") return;
    if (call.videoAllowed.self || call.videoAllowed.peer) {
      this.#cameraWished = false;
      await this.#try(call.revokeVideo());
      passing("Video is off. Your voices go on.");
    } else if (call.isController || (call.pending.video && !call.pending.video.mine)) {
      await this.#chooseDirection(call);
    } else {
      this.#cameraWished = true;
      if (await this.#try(call.requestVideo())) passing(`${call.peer.first_name} is asked for video.`);
    }
  }

  /** The user wants to know what the line about addresses means. */
  address() {
    if (this.#call) tellAddress(this.#call);
  }

  /** The user pressed the small button at the preview. */
  async camera() {
    const call = this.#call;
    if (!call) return;
    if (call.cameraOn) call.stopCamera();
    else if (call.videoAllowed.self) await this.#startCamera(call);
    else {
      this.#cameraWished = true;
      await this.#try(call.approveVideo("both"));
    }
  }

  async stayInTouch() {
    const call = this.#call;
    if (!call || byId("stay").getAttribute("aria-disabled") === "true") return;
    if (!(await this.#try(call.connect()))) return;
    this.#saidYes = true;
    if (!call.connected) passing(call.role === "mutual" ? `Your yes is kept secret until ${call.peer.first_name} says it too.` : "You said yes.");
    this.render();
  }

  async extend() {
    const call = this.#call;
    if (!call || byId("extend").getAttribute("aria-disabled") === "true") return;
    if (await this.#try(call.extend())) passing(`${call.peer.first_name} is asked for more time.`);
  }

  async hangup() {
    const call = this.#call;
    if (!call) return;
    this.left = true;
    await this.#try(call.hangup());
  }

  /** @param {Call} call */
  #renderStatus(call) {
    const name = call.peer.first_name;
    const away = this.#client.connection.state !== "ready";
    if (call.state !== "reconnecting") this.#peerWasAway = false;
    else if (!call.peerAttached) this.#peerWasAway = true;
    const status = byId("call-status");
    const text = away ? "You lost the network. Getting you back…" : callStatus(call, this.#peerWasAway);
    if (status.textContent !== text) status.textContent = text;
    status.toggleAttribute("data-urgent", away || call.state === "reconnecting");
    const state = away ? "away" : call.state;
    if (state === this.#lastState) return;
    if (state === "live") say(this.#lastState === "connecting" ? `You are talking with ${name}` : "You are connected again");
    else if (text) say(text);
    this.#lastState = state;
  }

  /** @param {Call} call */
  #renderDock(call) {
    const live = call.state === "live";
    const running = live || call.state === "reconnecting";
    byId("mute").setAttribute("aria-pressed", String(call.muted));
    byId("mute-label").textContent = call.muted ? "Unmute" : "Mute";
    setIcon("mute-icon", call.muted ? "mic-off" : "mic");

    const seen = call.videoAllowed.self || call.videoAllowed.peer;
    const asked = call.pending.video?.mine === true;
    const answering = call.pending.video !== null && !asked;
    byId("video-label").textContent = seen ? "Stop video" : asked ? "Asked" : call.isController || answering ? "Video" : "Ask for video";
    byId("video").toggleAttribute("data-on", seen);
    setIcon("video-icon", seen ? "video-off" : "video");
    enable("video", seen ? running : live && !asked);

    byId("stay").hidden = !call.mayConnect;
    byId("stay").toggleAttribute("data-on", call.connected || this.#saidYes);
    byId("stay-label").textContent = call.connected ? "In touch" : this.#saidYes ? "You said yes" : "Stay in touch";
    enable("stay", running && !call.connected && !this.#saidYes);

    const moreAsked = call.pending.extend?.mine === true;
    byId("extend-label").textContent = moreAsked ? "Asked" : "More time";
    enable("extend", live && !moreAsked && call.extensionsLeft !== 0);
  }

  /** @param {Call} call */
  #renderAddress(call) {
    byId("address-label").textContent = addressLabel(call.addressHidden);
    setIcon("address-icon", call.addressHidden ? "shield-check" : "shield");
    byId("address").toggleAttribute("data-good", call.addressHidden);
  }

  /** @param {Call} call */
  #renderAsks(call) {
    const name = call.peer.first_name;
    const { video, extend } = call.pending;
    /** @type {import("./asks.js").Ask[]} */
    const asks = [];
    if (video && !video.mine && call.state === "live") {
      const answer = { yes: "Choose…", no: "Not now", onYes: () => void this.#chooseDirection(call), onNo: () => void this.#try(call.denyVideo()) };
      asks.push({ id: "video", text: `${name} asks for video.`, untilAt: video.untilAt, ...answer });
    } else {
      closeDirectionIfAnswering();
    }
    if (extend && !extend.mine) {
      const answer = { yes: "Yes, more", no: "No", onYes: () => void this.#try(call.replyExtend(true)), onNo: () => void this.#try(call.replyExtend(false)) };
      asks.push({ id: "extend", text: `${name} would like more time.`, untilAt: extend.untilAt, ...answer });
    }
    if (call.videoAllowed.self && !call.cameraOn && !this.#cameraWished && !this.#invitationAnswered) {
      const answer = { yes: "Turn camera on", no: "Stay on voice", onYes: () => void this.#acceptInvitation(call), onNo: () => this.#declineInvitation() };
      asks.push({ id: "camera", text: `${name} invites you to video.`, untilAt: null, ...answer });
    }
    this.#asks.set(asks);
  }

  /** @param {Call} call */
  async #chooseDirection(call) {
    const choice = await askDirection(call);
    if (choice === "no") await this.#try(call.denyVideo());
    if (choice !== "both" && choice !== "receive") return;
    this.#cameraWished = choice === "both";
    await this.#try(call.approveVideo(choice));
  }

  async #videoAllowed() {
    const call = this.#call;
    if (!call) return;
    this.#invitationAnswered = false;
    if (call.videoAllowed.self && this.#cameraWished) await this.#startCamera(call);
    else if (!call.videoAllowed.self) passing(`Video is open: ${call.peer.first_name} may be seen now.`);
    this.render();
  }

  #videoDenied() {
    this.#cameraWished = false;
    if (this.#call && !this.#call.isController) passing(`${this.#call.peer.first_name} would rather stay with voice.`);
  }

  #videoRevoked() {
    const call = this.#call;
    if (!call) return;
    const { self, peer } = call.videoAllowed;
    if (!self && !peer && this.#cameraWished) passing(`${call.peer.first_name} turned video off. Your voices go on.`);
    if (!self) this.#cameraWished = false;
    this.render();
  }

  /** @param {Call} call */
  async #acceptInvitation(call) {
    this.#invitationAnswered = true;
    this.#cameraWished = true;
    await this.#startCamera(call);
    this.render();
  }

  #declineInvitation() {
    this.#invitationAnswered = true;
    this.render();
  }

  /** @param {Call} call */
  async #startCamera(call) {
    try {
      await call.startCamera();
    } catch (error) {
      // Taken back while the browser asked: that has been said already.
      if (call.videoAllowed.self) passing(failure(error, "camera"));
    }
  }

  #play() {
    const call = this.#call;
    const audio = /** @type {HTMLAudioElement} */ (byId("remote-audio"));
    audio.play().catch((error) => {
      // A call that ended meanwhile took the sound with it, and whoever is not at the call's screen has a press to come.
      if (error.name !== "NotAllowedError" || this.#call !== call || screen() !== "call") return;
      // A page that was loaded again has no press to its name yet.
      passing("Press anywhere to hear.");
      addEventListener("pointerdown", () => void audio.play().catch(() => {}), { once: true });
    });
    this.render();
  }

  /** @param {Promise<unknown>} request @returns {Promise<boolean>} */
  async #try(request) {
    try {
      await request;
      return true;
    } catch (error) {
      passing(failure(error));
      return false;
    }
  }
}

/** @param {string} id @param {boolean} able */
function enable(id, able) {
  // Not `disabled`: the button keeps its place in the tab order, and the focus stays on it.
  byId(id).setAttribute("aria-disabled", String(!able));
}

/** The sheet that answers a request goes when the request has gone. */
function closeDirectionIfAnswering() {
  if (byId("video-no").textContent === "Not now") closeDirection();
}
