/** What the page says. Codes come in, plain words go out; it decides nothing. */

/** @typedef {import("../sdk/index.js").Call} Call */

const LANGUAGES = new Intl.DisplayNames(["en"], { type: "language" });

/** @param {string[]} codes */
export function languages(codes) {
  return codes.map((code) => {
    try {
      return LANGUAGES.of(code) ?? code;
    } catch {
      return code;
    }
  });
}

/** "29 · speaks English and German" @param {{age: number, languages: string[], verified?: boolean}} peer */
export function facts(peer) {
  const spoken = new Intl.ListFormat("en").format(languages(peer.languages));
  return [String(peer.age), spoken && `speaks ${spoken}`, peer.verified && "verified"].filter(Boolean).join(" · ");
}

/**
 * The line under the peer's name.
 *
 * @param {Call} call
 * @param {boolean} peerWasAway the peer's session was gone since the call was last whole
 */
export function callStatus(call, peerWasAway) {
  const name = call.peer.first_name;
  if (call.state === "proposed") return `Found ${name}. Waiting for both of you…`;
  if (call.state === "connecting") return "Connecting your voices…";
  if (call.state === "live" && call.pending.video?.mine) return `Waiting for ${name}'s answer…`;
  if (call.state === "live") return call.muted ? "You are muted." : "";
  if (call.state !== "reconnecting") return "";
  if (!call.peerAttached) return `${name} lost the network. One moment…`;
  return peerWasAway ? `${name} is reconnecting. One moment…` : "The line is weak. Getting it back…";
}

/** @param {boolean} hidden */
export function addressLabel(hidden) {
  return hidden ? "Your address is hidden" : "Your address is not hidden";
}

/**
 * What that means, in two paragraphs.
 *
 * @param {boolean} hidden
 * @param {string} name
 */
export function addressMeaning(hidden, name) {
  const meaning = "An internet address (IP address) tells roughly where somebody is, and who provides their line.";
  if (hidden)
    return [
      `What you say goes through a relay of this server, encrypted. ${name}'s device sees the relay's address, and not yours.`,
      `${meaning} This server sees yours, as every website does, and does not keep it with the call.`,
    ];
  return [
    `On this server, voices go from device to device where they can. So ${name}'s device can learn your address.`,
    `${meaning} Whoever runs this server can hide it by setting up a relay.`,
  ];
}

/** @type {Record<string, (name: string) => [string, string]>} */
const ENDINGS = {
  declined: () => ["Not this time", "The other side did not take the call."],
  no_answer: () => ["Nobody answered", "The call was not taken in time."],
  cancelled: (name) => ["Called off", `The call ended before you and ${name} could talk.`],
  connect_timeout: (name) => ["No connection", `Your network and ${name}'s did not find each other. Another network may help.`],
  hangup: (name) => ["The call has ended", `You or ${name} hung up.`],
  completed: (name) => [`That was ${name}`, "Your time together is over."],
  connected: (name) => ["You stay in touch", `You and ${name} will find each other again.`],
  network_lost: (name) => ["The line went dead", `You or ${name} lost the network and did not come back in time.`],
  video_revoked: () => ["The call has ended", "Video was taken back, and one side did not turn it off in time. So we ended the call."],
  signaling_limit: () => ["The call has ended", "Something went wrong with the connection too often."],
  moderation: () => ["The call was ended", "A moderator ended this call."],
  unknown: (name) => ["The call has ended", `We lost touch with the server while you talked with ${name}.`],
};

/**
 * A title and a sentence for how a call ended.
 *
 * @param {Call} call
 * @param {{reason: string, durationMs: number}} end
 * @param {boolean} byUs we hung up ourselves
 */
export function ending(call, end, byUs) {
  const name = call.peer.first_name;
  if (call.connected || end.reason === "connected") {
    if (call.role === "guest") return ["You stay in touch", `${name} would like to hear from you again.`];
    if (call.role === "mutual") return ["You stay in touch", `You and ${name} wanted the same thing.`];
    return ENDINGS.connected(name);
  }
  if (end.reason === "hangup" && byUs) return ["You hung up", "Whenever you like, there is somebody else to meet."];
  if (end.reason === "hangup") return ["The call has ended", `${name} hung up.`];
  if (end.reason === "completed" && call.role === "guest") {
    return [`That was ${name}`, `Your time is up. If ${name} would like to stay in touch, you will hear of it.`];
  }
  return (ENDINGS[end.reason] ?? ENDINGS.unknown)(name);
}

/** @param {string} name @param {string} role */
export function decision(name, role) {
  const text =
    role === "mutual"
      ? `${name} is asked the same, and learns your answer only if it is the same yes.`
      : `It is up to you. If you say no, ${name} is not told.`;
  return { title: `Stay in touch with ${name}?`, text };
}

/** @type {Record<string, string>} */
const ERRORS = {
  media_denied: "The microphone is blocked. Allow it for this page in your browser, then try again.",
  media_missing: "No microphone was found. Plug one in or choose one in your browser, then try again.",
  media_busy: "The microphone is being used by something else. Close that, then try again.",
  network: "The server cannot be reached. Are you online?",
  rate_limited: "That was a little too quick. Wait a moment, then try again.",
  banned: "This account may not be used any more.",
  unavailable: "The server is very busy. Try again in a moment.",
  cooldown: "You asked a moment ago. Give it a minute.",
  limit_reached: "That is as often as one may ask.",
  already_requested: "You have asked already.",
  peer_reconnecting: "The other side is just coming back. Try again in a moment.",
  video_not_allowed: "Video is not open.",
  disconnected: "The connection was lost in between. Please try again.",
  timeout: "The server took too long to answer. Please try again.",
};

const CAMERA_ERRORS = /** @type {Record<string, string>} */ ({
  media_denied: "The camera is blocked. Allow it for this page in your browser.",
  media_missing: "No camera was found.",
  media_busy: "The camera is being used by something else.",
});

/** @param {any} error @param {"camera"|"other"} [about] */
export function failure(error, about = "other") {
  const code = error?.code ?? "";
  return (about === "camera" && CAMERA_ERRORS[code]) || ERRORS[code] || "That did not work. Please try again.";
}

/** @type {Record<number, [string, string]>} */
const STOPPED = {
  4501: ["Minuet is open elsewhere", "This page was opened again with the same account, so this one has stopped."],
  4502: ["Signed out", "This throw-away account is no longer valid. Begin again with a new one."],
  4503: ["Not allowed", "This account may not be used any more."],
  4504: ["Too many devices", "This account is in use on too many devices."],
  4505: ["A new version is here", "Load this page again to go on."],
  4506: ["Signed out", "This session was ended. Begin again with a new one."],
};

/** @param {number} code */
export function stopped(code) {
  return STOPPED[code] ?? ["Disconnected", "The server ended the connection. Begin again when you like."];
}

/**
 * @param {{position_band?: string, eta_ms?: number | null} | null} status
 * @param {boolean} again this tab has talked with somebody already
 */
export function searching(status, again) {
  // Without an estimate nobody is being matched: then it is no news that we are next.
  const known = status !== null && status.eta_ms != null;
  if (!known && again) return "Whoever you have just met is not offered again for a while.";
  if (!known) return "Open this page in a second tab to meet yourself.";
  if (status.eta_ms && status.eta_ms > 90_000) return `About ${Math.round(status.eta_ms / 60_000)} minutes to go.`;
  if (status.eta_ms && status.eta_ms > 15_000) return `About ${Math.round(status.eta_ms / 10_000) * 10} seconds to go.`;
  if (status.position_band === "next") return "You are next.";
  return "Anybody may come in at any moment.";
}
