/**
 * The server's view of a call in this side's words: what it says is taken over whole, and nothing of an older one is kept.
 */

/** States in which media flows, or is about to. */
const MEDIA_STATES = new Set(["connecting", "live", "reconnecting"]);

/**
 * @typedef {{mine: boolean, untilAt: number}} Pending a question that stands
 *
 * @typedef {object} CallFacts
 * @property {import("./protocol.js").CallStateName} state
 * @property {import("./protocol.js").CallView["role"]} role
 * @property {import("./protocol.js").CallView["peer"]} peer
 * @property {boolean} peerAttached
 * @property {boolean} connected the two stay in touch
 * @property {number | null} extensionsLeft how often the clock may still be extended; null where the server does not say
 * @property {number | null} endsAt when the clock runs out, by the server's time; null before it runs
 * @property {number | null} deadlineAt when this state runs out
 * @property {{video: Pending | null, extend: Pending | null}} pending
 */

/**
 * @param {import("./protocol.js").CallView} view
 * @param {string} seat this side's
 * @returns {CallFacts}
 */
export function factsOf(view, seat) {
  return {
    state: view.state,
    role: view.role,
    peer: view.peer,
    peerAttached: view.peer_attached !== false,
    connected: view.connected === true,
    extensionsLeft: view.extensions_left ?? null,
    endsAt: view.ends_at ?? null,
    deadlineAt: view.deadline_at ?? null,
    pending: { video: pendingOf(view.pending?.video, seat), extend: pendingOf(view.pending?.extend, seat) },
  };
}

/** @param {string} state */
export function hasMedia(state) {
  return MEDIA_STATES.has(state);
}

/**
 * @param {import("./protocol.js").PendingAsk | null | undefined} ask
 * @param {string} seat
 * @returns {Pending | null}
 */
function pendingOf(ask, seat) {
  return ask ? { mine: ask.by === seat, untilAt: ask.until_at } : null;
}
