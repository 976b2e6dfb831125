/**
 * The demo: puts the SDK and the screens together, and decides which screen is shown. One client at a time; a new
 * persona gets a new one.
 */

import { LocalMedia, MinuetClient, MinuetError } from "../sdk/index.js";
import { CallScreen } from "./call-screen.js";
import { Chats } from "./chats.js";
import { Deciding } from "./deciding.js";
import { byId } from "./dom.js";
import { showEnding } from "./ended.js";
import { deviceId, forget, hasTwin, registration, remember, remembered } from "./identity.js";
import { passing, say, screen, setInitial, show, toast } from "./screens.js";
import { askSafety } from "./sheets.js";
import { Voices, wakeAudio } from "./voices.js";
import { WakeLock } from "./wake-lock.js";
import { WelcomeForm } from "./welcome.js";
import { failure, searching, stopped } from "./words.js";

/** @typedef {import("../sdk/index.js").Call} Call */

/** How long a user waits for the door to open before being told that it is shut; attempts go on meanwhile. */
const PATIENCE_MS = 12_000;

class Demo {
  #media = new LocalMedia();
  #voices = new Voices();
  #form = new WelcomeForm((persona) => this.#start(persona));
  #deciding = new Deciding();
  /** @type {import("./identity.js").Persona | null} */
  #persona = null;
  /** @type {Call | null} the call of this screen, or the last one */
  #call = null;
  #busy = false;
  #wakeLock = new WakeLock();
  /** The connection that came of a call. @type {{callId: string, connectionId: string} | null} */
  #met = null;
  /** Where the chats lead back to. @type {"welcome"|"ended"} */
  #cameFrom = "welcome";

  /** @type {CallScreen} */
  #calls;
  /** @type {Chats} */
  #chats;

  constructor() {
    this.client = this.#makeClient();
    this.#calls = new CallScreen(this.client, this.#voices);
    this.#chats = new Chats(this.client, () => this.#leaveChats());
    this.#bind();
    this.#frame();
  }

  /** Comes back to what this tab was doing before it was loaded again. */
  async begin() {
    if (await hasTwin()) forget();
    this.#persona = remembered();
    this.#form.fill(this.#persona);
    if (!this.#persona) return;
    this.#replaceClient();
    setInitial("self", this.#persona.first_name);
    const chat = Chats.remembered;
    this.client.once("ready", () => {
      if (chat !== null && !this.client.call && screen() === "welcome") void this.#chats.open(chat || null);
    });
    this.client.connect().catch(() => {});
  }

  #makeClient() {
    const client = new MinuetClient({ storage: sessionStorage, deviceId: deviceId(), media: this.#media, client: { name: "minuet-demo", version: "0.1.0" } });
    client.on("connection", ({ state }) => this.#linkChanged(state));
    client.on("closed", ({ code }) => this.#closed(code));
    client.on("queue", ({ status }) => this.#waiting(status));
    client.on("queue.left", () => this.#stoppedWaiting("You are not waiting any more."));
    client.on("match", (call) => this.#matched(call));
    client.on("call", (call) => this.#restored(call));
    client.on("ended", ({ call, end }) => this.#ended(call, end));
    client.on("connection.made", ({ callId, connectionId, peer }) => this.#joined({ callId, connectionId }, peer.first_name));
    return client;
  }

  #replaceClient() {
    this.client.removeAll();
    this.client.close();
    this.client = this.#makeClient();
    this.#calls.close();
    this.#calls = new CallScreen(this.client, this.#voices);
    this.#chats.use(this.client);
  }

  /** The one press: microphone, account, connection, queue. @param {import("./identity.js").Persona} persona */
  async #start(persona) {
    if (this.#busy) return;
    this.#busy = true;
    byId("again").dataset.busy = "";
    this.#form.busy("Waiting for your microphone…");
    wakeAudio();
    try {
      await this.#media.openMicrophone();
      this.#form.busy("Opening the door…");
      await this.#become(persona);
      await soon(this.client.connect());
      if (this.client.away) await this.client.setAway(false);
      await this.client.joinQueue(persona.intent, persona.sides.length > 0 ? { sides: persona.sides } : {});
    } catch (error) {
      this.#form.fail(failure(error));
      byId("ended-error").textContent = failure(error);
      byId("ended-error").hidden = false;
    } finally {
      this.#busy = false;
      delete byId("again").dataset.busy;
      this.#form.ready();
    }
  }

  /** Makes a new account unless this tab already is that person. @param {import("./identity.js").Persona} persona */
  async #become(persona) {
    const before = this.#persona;
    const same = before && (["first_name", "gender", "age"]).every((key) => /** @type {any} */ (before)[key] === /** @type {any} */ (persona)[key]);
    if (!same || !this.client.account.signedIn) {
      forget();
      this.#replaceClient();
      await this.client.account.register(registration(persona));
    }
    this.#persona = persona;
    remember(persona);
    setInitial("self", persona.first_name);
  }

  /** @param {import("../sdk/protocol.js").QueueStatus | null} status */
  #waiting(status) {
    if (!this.#media.microphone) {
      // The page was loaded again while it waited. Nobody is to be met, or heard, before the next press.
      this.client.leaveQueue().catch(() => {});
      return;
    }
    const { away } = this.client;
    byId("searching-title").textContent = away ? "Paused" : "Looking for somebody";
    byId("searching-text").textContent = away ? "Your place is kept for a while, and nobody is called to you." : searching(status, this.#call !== null);
    byId("screen-searching").toggleAttribute("data-away", away);
    byId("away").setAttribute("aria-checked", String(away));
    this.#voices.listenToMine(this.#media.microphone);
    const active = this.client.call && this.client.call.state !== "deciding";
    if (!active && screen() !== "searching" && screen() !== "chats") {
      show("searching", "Looking for somebody – Minuet");
      say("Looking for somebody");
    }
  }

  /** @param {string} why */
  #stoppedWaiting(why) {
    if (screen() !== "searching" && screen() !== "chats") return;
    this.#media.closeMicrophone();
    if (screen() === "searching") show("welcome");
    toast(why);
  }

  /** @param {Call} call */
  #matched(call) {
    if (!this.#media.microphone) {
      call.decline().catch(() => {});
      return;
    }
    this.#take(call);
    navigator.vibrate?.(60);
    show("call", `${call.peer.first_name} – Minuet`);
    say(`Found ${call.peer.first_name}, ${call.peer.age}`);
  }

  /** @param {Call} call */
  #restored(call) {
    this.#take(call);
    if (call.state === "deciding") {
      this.#follow(call);
      return;
    }
    byId("rejoin-text").textContent = `${call.peer.first_name} is still there. Press to be heard again.`;
    show("rejoin", `${call.peer.first_name} – Minuet`);
  }

  /** @param {Call} call */
  #take(call) {
    this.#call = call;
    this.#calls.open(call);
    byId("safety-open").hidden = false;
    call.on("change", () => this.#follow(call));
    call.on("mediaerror", (error) => passing(failure(error)));
  }

  /** @param {Call} call */
  #follow(call) {
    if (call !== this.client.call) return;
    if (call.state === "deciding" && call.mayConnect && screen() !== "deciding") {
      void this.#wakeLock.keep(false);
      this.#deciding.open(call);
    } else if (call.state === "live") {
      void this.#wakeLock.keep(true);
    }
  }

  /** @param {Call} call @param {import("../sdk/call.js").CallEnd} end */
  #ended(call, end) {
    const byUs = this.#calls.left;
    this.#calls.close();
    void this.#wakeLock.keep(false);
    if (end.requeued) {
      toast("That did not work out. Looking for somebody else.");
      this.#waiting(null);
      byId("safety-open").hidden = true;
      return;
    }
    this.#media.closeMicrophone();
    byId("safety-open").hidden = true;
    this.#showEnding(call, end, byUs);
  }

  /** @param {Call} call @param {import("./ended.js").End} end @param {boolean} byUs */
  #showEnding(call, end, byUs) {
    showEnding(call, end, { byUs, chatOpen: this.#met?.callId === call.id });
  }

  /** The two stay in touch: said in the call, or, when it is over for us already, by the last screen. */
  #joined(/** @type {{callId: string, connectionId: string}} */ met, /** @type {string} */ name) {
    const call = this.#call;
    const { callId } = met;
    this.#met = met;
    if (call?.id === callId && call.end && screen() === "ended") {
      call.connected = true;
      this.#showEnding(call, call.end, false);
    } else if (call?.id !== callId || call.state !== "deciding") {
      toast(`You and ${name} stay in touch!`, "joy").dataset.passing = "";
    }
  }

  /** @param {number} code */
  #closed(code) {
    this.#calls.close();
    this.#media.closeMicrophone();
    byId("safety-open").hidden = true;
    byId("link-state").hidden = true;
    const [title, text] = stopped(code);
    byId("stopped-title").textContent = title;
    byId("stopped-text").textContent = text;
    show("stopped", `${title} – Minuet`);
  }

  /** @param {import("../sdk/connection.js").ConnectionState} state */
  #linkChanged(state) {
    const away = (state === "waiting" || state === "connecting") && screen() !== "welcome";
    byId("link-state").hidden = !away;
    byId("link-state").textContent = "Reconnecting";
    this.#calls?.render();
  }

  #bind() {
    /** @param {string} id @param {() => unknown} act */
    const press = (id, act) => byId(id).addEventListener("click", () => void act());
    press("mute", () => this.#calls.mute());
    press("video", () => this.#calls.video());
    press("camera", () => this.#calls.camera());
    press("stay", () => this.#calls.stayInTouch());
    press("extend", () => this.#calls.extend());
    press("hangup", () => this.#calls.hangup());
    press("address", () => this.#calls.address());
    press("safety-open", () => this.#safety());
    press("ended-safety", () => this.#safety());
    press("decide-yes", () => this.#decide(true));
    press("decide-no", () => this.#decide(false));
    press("away", () => this.#away());
    press("cancel", () => this.#cancel());
    press("chats-open", () => this.#openChats(null));
    press("write", () => this.#met && this.#openChats(this.#met.connectionId));
    press("chats-back", () => this.#chats.leave());
    press("talk-back", () => this.#chats.back());
    press("people-more", () => this.#chats.more());
    press("again", () => this.#persona && this.#start(this.#persona));
    press("change", () => show("welcome"));
    press("rejoin", () => this.#rejoin());
    press("rejoin-leave", () => this.#calls.hangup());
    press("stopped-again", () => this.#beginAgain());
    addEventListener("online", () => this.client.nudge());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.client.nudge();
    });
  }

  /** @param {string | null} connectionId */
  #openChats(connectionId) {
    this.#cameFrom = screen() === "ended" ? "ended" : "welcome";
    byId("safety-open").hidden = true;
    void this.#chats.open(connectionId);
  }

  #leaveChats() {
    if (this.client.waiting) show("searching", "Looking for somebody – Minuet");
    else show(this.#cameFrom);
  }

  async #away() {
    try {
      await this.client.setAway(!this.client.away);
      if (this.client.waiting) this.#waiting(this.client.waiting.status);
      say(this.client.away ? "You are away. Your place is kept." : "You are back, and looking for somebody.");
    } catch (error) {
      passing(failure(error));
    }
  }

  async #cancel() {
    this.#media.closeMicrophone();
    await this.client.leaveQueue().catch(() => {});
    // A match that was quicker than the press has its own screen by now.
    if (screen() === "searching") show("welcome");
  }

  async #rejoin() {
    const call = this.#call;
    if (!call) return;
    wakeAudio();
    try {
      await call.rejoin();
      show("call", `${call.peer.first_name} – Minuet`);
    } catch (error) {
      passing(failure(error));
    }
  }

  /** @param {boolean} yes */
  async #decide(yes) {
    const call = this.#call;
    if (!call) return;
    try {
      await (yes ? call.connect() : call.pass());
      if (yes && call.role === "mutual" && !call.end) passing(`Your yes is kept secret until ${call.peer.first_name} says it too.`);
    } catch (error) {
      if (!call.end) passing(failure(error));
    }
  }

  async #safety() {
    const call = this.#call;
    if (!call) return;
    const choice = await askSafety(call.peer.first_name, "call");
    try {
      if (choice.act === "block") {
        this.#calls.left = true;
        await call.block();
        toast(`${call.peer.first_name} is blocked. You will not meet again.`);
      } else if (choice.act === "report") {
        await call.report(choice.category, choice.note);
        toast("Thank you. A moderator will look at it.");
      }
    } catch (error) {
      toast(failure(error));
    }
  }

  #beginAgain() {
    forget();
    this.#persona = null;
    this.#replaceClient();
    show("welcome");
  }

  #frame() {
    requestAnimationFrame(() => this.#frame());
    if (screen() === "call") this.#calls.draw();
    else if (screen() === "searching") this.#voices.drawWaiting();
    else if (screen() === "deciding") this.#deciding.draw(this.#call);
  }
}

/** @param {Promise<void>} connecting */
function soon(connecting) {
  const late = new Promise((_resolve, reject) => {
    setTimeout(() => reject(new MinuetError("network", "no session yet", { retryable: true })), PATIENCE_MS);
  });
  return Promise.race([connecting, late]);
}

const demo = new Demo();
// For tests and the curious: what the page is made of, only when asked for.
if (new URLSearchParams(location.search).has("debug")) {
  Object.defineProperty(window, "__minuet", {
    value: {
      get client() {
        return demo.client;
      },
      get call() {
        return demo.client.call;
      },
      get pc() {
        return demo.client.call?.pc ?? null;
      },
    },
  });
}
void demo.begin();
