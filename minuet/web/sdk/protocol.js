/**
 * The words of the wire, as far as the client needs them: the subprotocol, close codes, and the shapes
 * of the messages as types. The schema's source is the server's message classes; this follows it.
 */

export const SUBPROTOCOL = "minuet.v1.json";

/** Why the server closed. Below 4500 the client comes back, from 4500 on it does not. */
export const CloseCode = Object.freeze({
  NORMAL: 1000,
  INTERNAL: 4000,
  DRAIN: 4001,
  NO_PONG: 4002,
  TOO_SLOW: 4003,
  NO_START: 4004,
  TOKEN_EXPIRED: 4005,
  RESYNC: 4006,
  RATE: 4007,
  PROTOCOL: 4500,
  SUPERSEDED: 4501,
  BAD_TOKEN: 4502,
  BANNED: 4503,
  TOO_MANY_DEVICES: 4504,
  VERSION: 4505,
  REVOKED: 4506,
});

/** True where the client may come back after this close. @param {number} code */
export function mayReconnect(code) {
  return code < 4500 || code > 4999;
}

/**
 * @typedef {"a"|"b"} Seat
 * @typedef {"controller"|"guest"|"mutual"} Role
 * @typedef {"proposed"|"connecting"|"live"|"reconnecting"|"deciding"|"ended"} CallStateName
 * @typedef {"declined"|"no_answer"|"cancelled"|"connect_timeout"|"hangup"|"completed"|"connected"|"network_lost"|"video_revoked"|"signaling_limit"|"moderation"} EndReason
 * @typedef {{a: boolean, b: boolean}} VideoAllowed
 * @typedef {{first_name: string, age: number, languages: string[], verified?: boolean}} PeerCard
 * @typedef {{by: Seat, until_at: number}} PendingAsk
 */

/**
 * @typedef {object} CallView one side's view of a call: `call.state`, and `call` in the snapshot
 * @property {string} call_id
 * @property {number} version
 * @property {CallStateName} state
 * @property {Role} role
 * @property {Seat} seat
 * @property {string} [intent]
 * @property {boolean} [offerer]
 * @property {PeerCard} peer
 * @property {boolean} [peer_attached]
 * @property {VideoAllowed} video_allowed
 * @property {{video?: PendingAsk | null, extend?: PendingAsk | null}} [pending]
 * @property {boolean} [connected]
 * @property {number} server_now
 * @property {number | null} [ends_at] when the clock runs out
 * @property {number | null} [deadline_at] when this state runs out
 * @property {number} [extensions_left]
 * @property {"all"|"relay"} [ice_transport_policy]
 */

/**
 * @typedef {object} MatchFound
 * @property {string} call_id
 * @property {Seat} seat
 * @property {Role} role
 * @property {boolean} offerer
 * @property {PeerCard} peer
 * @property {number} accept_by_at
 * @property {string} [intent]
 * @property {number} [server_now]
 * @property {"all"|"relay"} [ice_transport_policy]
 */

/**
 * @typedef {object} Preferences whom to meet; what is left out is open
 * @property {Array<"female"|"male"|"other">} [sides]
 * @property {number} [age_min]
 * @property {number} [age_max]
 * @property {string[]} [languages]
 * @property {string[]} [regions]
 * @property {number} [patience_s] for how long this person means to wait, where that is known
 */

/**
 * @typedef {"harassment"|"nudity"|"hate"|"scam"|"underage"|"spam"|"other"} ReportCategory
 */

/**
 * @typedef {object} QueueStatus
 * @property {string} intent
 * @property {"next"|"near"|"middle"|"far"} [position_band]
 * @property {number | null} [eta_ms] half of such waits are shorter
 * @property {number | null} [eta_p90_ms] nine in ten are
 * @property {number} [queued_at]
 */

/**
 * @typedef {object} Snapshot all a client needs to draw its screen
 * @property {string} [presence] `idle`, `queued`, `call`, or `away` where this device said so
 * @property {{intent: string, queued_at: number} | null} [ticket]
 * @property {CallView | null} [call]
 * @property {Record<string, number> | null} [unread] unread messages by connection; null: not known at the moment
 */

/**
 * @typedef {object} ChatMessage
 * @property {string} [connection_id]
 * @property {string} id
 * @property {number} number its place in the connection, from 1
 * @property {string | null} [client_id] of one's own messages
 * @property {"self"|"peer"} from
 * @property {string} body
 * @property {number} sent_at
 * @property {number | null} [unread] how many are unread now, this one included; only of the peer's
 */

/**
 * @typedef {object} ConnectionView somebody one stays in touch with
 * @property {string} connection_id
 * @property {PeerCard} peer
 * @property {number} made_at
 * @property {ChatMessage | null} last_message
 * @property {number} unread
 * @property {number} read_up_to
 * @property {number} peer_read_up_to
 * @property {"online"|"offline"|"unknown"} [presence]
 */

/**
 * @typedef {object} SessionReady
 * @property {string} session_id
 * @property {boolean} resumed
 * @property {number} [heartbeat_s]
 * @property {number} [resume_window_s]
 * @property {number} [token_expires_at]
 * @property {Record<string, any>} [limits]
 * @property {string[]} [features]
 * @property {string[]} [intents] what may be queued for
 * @property {number} [server_now]
 * @property {Snapshot} snapshot
 */

/**
 * @typedef {{urls: string | string[], username?: string, credential?: string}} IceServer
 * @typedef {{call_id?: string, ice_servers: IceServer[], expires_at?: number | null}} IceServersAnswer
 * @typedef {{candidate: string, mid: string | null, ufrag: string | null}} WireCandidate
 */

/**
 * Whose offer a negotiation number belongs to, as the reader of the message sees it.
 * @typedef {"self"|"peer"} Of
 */

/**
 * @typedef {object} ServerMessage
 * @property {string} type
 * @property {number} [id]
 * @property {number} [seq]
 * @property {any} [data]
 */
