/**
 * Minuet's client SDK. `MinuetClient` is all most apps need; the rest is here for those that build on its parts.
 */

export { Call } from "./call.js";
export { Chat } from "./chat.js";
export { MinuetClient } from "./client.js";
export { ServerClock } from "./clock.js";
export { Connection } from "./connection.js";
export { Conversation } from "./conversation.js";
export { MinuetError } from "./errors.js";
export { Emitter } from "./events.js";
export { LevelMeter } from "./levels.js";
export { LocalMedia } from "./media.js";
export { Negotiation } from "./negotiation.js";
export { Peer } from "./peer.js";
export { CloseCode, SUBPROTOCOL } from "./protocol.js";
export { Rest } from "./rest.js";
export { VideoPermit } from "./video.js";
