/** How long silence is borne. In a call the other side waits for us, and only 15 s: it is borne less. */

const HANDSHAKE_MS = 10_000;
const HANDSHAKE_IN_CALL_MS = 4_000;
/** Where the server does not say. */
const HEARTBEAT_S = 20;
const HEARTBEAT_IN_CALL_S = 5;
// The server gives us 8 s (4 s in a call) to answer its ping; we give its ping as long to reach us.
const GRACE_MS = 8_000;
const GRACE_IN_CALL_MS = 4_000;

/** For a socket to open and the session to be answered. @param {boolean} inCall */
export function handshakePatienceMs(inCall) {
  return inCall ? HANDSHAKE_IN_CALL_MS : HANDSHAKE_MS;
}

/** For the next word of the server. @param {boolean} inCall @param {number} [heartbeatS] */
export function silencePatienceMs(inCall, heartbeatS = HEARTBEAT_S) {
  return inCall ? Math.min(heartbeatS, HEARTBEAT_IN_CALL_S) * 1_000 + GRACE_IN_CALL_MS : heartbeatS * 1_000 + GRACE_MS;
}
