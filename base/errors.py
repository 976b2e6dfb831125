"""The closed list of error codes and close codes, for WebSocket and REST alike.

`code`, never `message`, is the contract. Each code says what it means, what a client should do, whether the
same request may succeed later, and its HTTP status. `docs/errors.md` is generated from this file.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """What can be wrong with a request."""

    INVALID_MESSAGE = "invalid_message"
    UNKNOWN_TYPE = "unknown_type"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNAUTHENTICATED = "unauthenticated"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  a code, not a secret
    FORBIDDEN = "forbidden"
    FORBIDDEN_ROLE = "forbidden_role"
    BANNED = "banned"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    WRONG_DEVICE = "wrong_device"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"

    UNKNOWN_INTENT = "unknown_intent"
    ALREADY_MATCHED = "already_matched"
    IN_CALL = "in_call"

    NOT_A_PARTICIPANT = "not_a_participant"
    CALL_ENDED = "call_ended"
    BAD_STATE = "bad_state"
    ALREADY_REQUESTED = "already_requested"
    ALREADY_ALLOWED = "already_allowed"
    NO_PENDING_REQUEST = "no_pending_request"
    NO_PENDING_EXTENSION = "no_pending_extension"
    COOLDOWN = "cooldown"
    LIMIT_REACHED = "limit_reached"
    PEER_RECONNECTING = "peer_reconnecting"

    SDP_INVALID = "sdp_invalid"
    MEDIA_KIND_FORBIDDEN = "media_kind_forbidden"
    VIDEO_NOT_ALLOWED = "video_not_allowed"
    ANSWER_MISMATCH = "answer_mismatch"
    STALE_NEGOTIATION = "stale_negotiation"
    CANDIDATE_INVALID = "candidate_invalid"

    NOT_CONNECTED = "not_connected"


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One row of the table of errors."""

    meaning: str
    client_action: str
    status: int
    retryable: bool = False


ERROR_SPECS: dict[ErrorCode, ErrorSpec] = {
    ErrorCode.INVALID_MESSAGE: ErrorSpec(
        "The message or body does not fit its schema.", "Fix the request; `message` names the field.", 400
    ),
    ErrorCode.UNKNOWN_TYPE: ErrorSpec(
        "There is no message of this type.", "Do not send it to this server version.", 400
    ),
    ErrorCode.PAYLOAD_TOO_LARGE: ErrorSpec(
        "The message, description or body is over its limit.",
        "Send less; limits are in `session.ready`.",
        413,
    ),
    ErrorCode.UNAUTHENTICATED: ErrorSpec(
        "The token is missing, malformed or not ours; or e-mail and password do not match.",
        "Sign in again.",
        401,
    ),
    ErrorCode.TOKEN_EXPIRED: ErrorSpec(
        "The access token is past its time.", "Refresh the token, then try again.", 401
    ),
    ErrorCode.FORBIDDEN: ErrorSpec("The caller may not do this.", "Do not retry.", 403),
    ErrorCode.FORBIDDEN_ROLE: ErrorSpec(
        "The caller's role in the call does not decide this.", "Hide the control for this role.", 403
    ),
    ErrorCode.BANNED: ErrorSpec("The account is banned.", "Tell the user; do not reconnect.", 403),
    ErrorCode.NOT_FOUND: ErrorSpec(
        "There is no such thing, or not for this caller.", "Drop the reference.", 404
    ),
    ErrorCode.CONFLICT: ErrorSpec(
        "The state of the resource does not allow this.", "Reload the resource, then decide.", 409
    ),
    ErrorCode.WRONG_DEVICE: ErrorSpec(
        "The queue ticket or call belongs to another device of this user.", "Act on that device.", 409
    ),
    ErrorCode.RATE_LIMITED: ErrorSpec(
        "Too many requests of this kind.", "Wait `retry_after_ms`, then try again.", 429, retryable=True
    ),
    ErrorCode.UNAVAILABLE: ErrorSpec(
        "Something the server depends on is away for the moment.",
        "Try again with backoff.",
        503,
        retryable=True,
    ),
    ErrorCode.INTERNAL: ErrorSpec(
        "The server failed; the cause is in its log under the request id.",
        "Try again once; then report it.",
        500,
    ),
    ErrorCode.UNKNOWN_INTENT: ErrorSpec(
        "No such intent is configured.", "Offer only the intents in `session.ready`.", 404
    ),
    ErrorCode.ALREADY_MATCHED: ErrorSpec(
        "The ticket has just been matched, so it cannot leave the queue.", "Wait for `match.found`.", 409
    ),
    ErrorCode.IN_CALL: ErrorSpec("The user is in a call.", "End the call first.", 409),
    ErrorCode.NOT_A_PARTICIPANT: ErrorSpec(
        "There is no such call, or the caller is not in it.", "Drop the call from the screen.", 404
    ),
    ErrorCode.CALL_ENDED: ErrorSpec("The call is over.", "Show the end of the call.", 409),
    ErrorCode.BAD_STATE: ErrorSpec(
        "The call is not in a state in which this is possible.", "Follow `call.state`.", 409
    ),
    ErrorCode.ALREADY_REQUESTED: ErrorSpec("A request is already pending.", "Wait for the reply.", 409),
    ErrorCode.ALREADY_ALLOWED: ErrorSpec("Video is allowed already.", "Turn the camera on.", 409),
    ErrorCode.NO_PENDING_REQUEST: ErrorSpec("No video request is pending.", "Follow `call.state`.", 409),
    ErrorCode.NO_PENDING_EXTENSION: ErrorSpec(
        "No request for more time is pending, or it has lapsed.", "Ask anew with `call.extend`.", 409
    ),
    ErrorCode.COOLDOWN: ErrorSpec(
        "It is too soon after a denial, or after declining several matches.",
        "Wait `retry_after_ms`, then ask again.",
        429,
        retryable=True,
    ),
    ErrorCode.LIMIT_REACHED: ErrorSpec("No more of these in this call or session.", "Hide the control.", 409),
    ErrorCode.PEER_RECONNECTING: ErrorSpec(
        "The other side has lost its network for the moment.", "Wait for `live`.", 409, retryable=True
    ),
    ErrorCode.SDP_INVALID: ErrorSpec(
        "The session description is malformed or of an unusual shape.",
        "Roll back; send what the browser made.",
        422,
    ),
    ErrorCode.MEDIA_KIND_FORBIDDEN: ErrorSpec(
        "The description has media that this intent does not allow.", "Roll back; remove that media.", 422
    ),
    ErrorCode.VIDEO_NOT_ALLOWED: ErrorSpec(
        "The description would open video that is not allowed.",
        "Roll back, make video `inactive`, wait for `video.allowed`.",
        422,
    ),
    ErrorCode.ANSWER_MISMATCH: ErrorSpec(
        "The answer does not fit its offer's media sections.", "Roll back; wait for a new offer.", 422
    ),
    ErrorCode.STALE_NEGOTIATION: ErrorSpec(
        "The negotiation is unknown, closed or not newer than the last.",
        "Drop it; the newest offer counts.",
        409,
    ),
    ErrorCode.CANDIDATE_INVALID: ErrorSpec("An ICE candidate is malformed.", "Drop it.", 422),
    ErrorCode.NOT_CONNECTED: ErrorSpec("The two users have no connection.", "Remove the chat.", 403),
}


class CloseCode(IntEnum):
    """WebSocket close codes. 4000-4499: reconnect. 4500-4999: do not."""

    NORMAL = 1000
    INTERNAL = 4000
    DRAIN = 4001
    NO_PONG = 4002
    TOO_SLOW = 4003
    NO_START = 4004
    TOKEN_EXPIRED = 4005
    RESYNC = 4006
    RATE = 4007
    PROTOCOL_ERROR = 4500
    SUPERSEDED = 4501
    BAD_TOKEN = 4502
    BANNED = 4503
    TOO_MANY_DEVICES = 4504
    VERSION = 4505
    REVOKED = 4506

    @property
    def may_reconnect(self) -> bool:
        return CloseCode.INTERNAL <= self < CloseCode.PROTOCOL_ERROR


CLOSE_MEANINGS: dict[CloseCode, str] = {
    CloseCode.NORMAL: "The client ended its session.",
    CloseCode.INTERNAL: "The server failed.",
    CloseCode.DRAIN: "The node is shutting down: reconnect after the delay in `session.drain`. Or the session has "
    "gone on on another socket.",
    CloseCode.NO_PONG: "The client did not answer a ping in time.",
    CloseCode.TOO_SLOW: "The client read too slowly.",
    CloseCode.NO_START: "No `session.start` or `session.resume` came in time.",
    CloseCode.TOKEN_EXPIRED: "The access token ran out and was not refreshed.",
    CloseCode.RESYNC: "Messages were lost; a new session with a full snapshot follows.",
    CloseCode.RATE: "The client kept sending far over its limits.",
    CloseCode.PROTOCOL_ERROR: "The client broke the protocol.",
    CloseCode.SUPERSEDED: "A newer connection of the same device took over.",
    CloseCode.BAD_TOKEN: "The token is not valid.",
    CloseCode.BANNED: "The account is banned.",
    CloseCode.TOO_MANY_DEVICES: "The user is connected from too many devices.",
    CloseCode.VERSION: "The client is too old.",
    CloseCode.REVOKED: "The user signed out everywhere.",
}


class MinuetError(Exception):
    """A refusal with a code from the closed list; `message` is for people, `code` for programs."""

    code: ErrorCode = ErrorCode.INTERNAL

    def __init__(
        self, message: str = "", *, code: ErrorCode | None = None, retry_after_ms: int | None = None
    ) -> None:
        if code is not None:
            self.code = code
        self.message = message or ERROR_SPECS[self.code].meaning
        self.retry_after_ms = retry_after_ms
        super().__init__(self.message)

    @property
    def spec(self) -> ErrorSpec:
        return ERROR_SPECS[self.code]


class Unavailable(MinuetError):
    """A dependency is away; nothing was changed, and the same request may succeed later."""

    code = ErrorCode.UNAVAILABLE
