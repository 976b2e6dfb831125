"""The transition table: what may happen in which state, by whom, and what can become of it.

Data that the rules obey, that tests walk and that `docs/states.md` is made of. A pair of state and event that has no
row for a role is illegal: `default_refusal` says how a command is refused then; a fact is ignored. Where a row names
refusals beside states, the handler decides between them, by what the record says.
"""

from dataclasses import dataclass
from typing import Final

from base.errors import ErrorCode
from signaling.call.events import (
    COMMANDS,
    FACTS,
    Accepted,
    Blocked,
    ConnectPassed,
    ConnectRequested,
    Declined,
    Event,
    ExtensionAnswered,
    ExtensionRequested,
    HungUp,
    MediaConnected,
    MediaDisconnected,
    MediaFailed,
    Moderated,
    PartnerUnavailable,
    QualityReported,
    QueueJoined,
    RelayRefused,
    SeatAttached,
    SeatDetached,
    SessionEnded,
    SignalingLimitReached,
    TimerFired,
    VideoApproved,
    VideoDenied,
    VideoRequested,
    VideoRevoked,
    VideoStopped,
)
from signaling.call.states import Role, State

PROPOSED, CONNECTING, LIVE = State.PROPOSED, State.CONNECTING, State.LIVE
RECONNECTING, DECIDING, ENDED = State.RECONNECTING, State.DECIDING, State.ENDED

ANYONE: Final = frozenset(Role)
ASKERS: Final = frozenset((Role.GUEST, Role.MUTUAL))
DECIDERS: Final = frozenset((Role.CONTROLLER, Role.MUTUAL))
GUEST: Final = frozenset((Role.GUEST,))

ROLES: Final[dict[type[Event], frozenset[Role]]] = {
    VideoRequested: ASKERS,
    VideoApproved: DECIDERS,
    VideoDenied: DECIDERS,
    ConnectRequested: DECIDERS,
    ConnectPassed: DECIDERS,
}
"""Who may ask for what at all; everything else is open to every role."""

STATE_POLICY: Final[dict[State, str]] = {
    PROPOSED: "proposed_s",
    CONNECTING: "connecting_s",
    LIVE: "call_seconds",
    RECONNECTING: "reconnecting_s",
    DECIDING: "deciding_s",
}
"""The policy's duration for each state's deadline; `ended` has none."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of event does in some states, if its actor has one of these roles."""

    states: tuple[State, ...]
    event: type[Event]
    becomes: tuple[State | None, ...]
    """The states it can lead to; `None` is the one it is in. Empty: always refused."""
    does: str
    who: frozenset[Role] = ANYONE
    refuses: tuple[ErrorCode, ...] = ()

    def next_states(self, state: State) -> frozenset[State]:
        """Where a call in `state` can be afterwards."""
        return frozenset(becomes or state for becomes in self.becomes)


_STAYS: Final = (None,)
_SET_UP = (PROPOSED, CONNECTING)
_TALK = (LIVE, RECONNECTING)
_MEDIA = (CONNECTING, LIVE, RECONNECTING)
_UNDER_WAY = (PROPOSED, CONNECTING, LIVE, RECONNECTING)
_OPEN = (PROPOSED, CONNECTING, LIVE, RECONNECTING, DECIDING)

TABLE: Final[tuple[Row, ...]] = (
    # --- proposed ---
    Row(
        (PROPOSED,),
        Accepted,
        (None, CONNECTING),
        "both in: `connecting`, and both get `call.ice_servers`",
    ),
    Row(_MEDIA, Accepted, _STAYS, "in effect already: `ok`"),
    Row((PROPOSED,), Declined, (ENDED,), "`ended declined`; the other goes back to the queue"),
    Row((PROPOSED,), HungUp, (ENDED,), "as `call.decline`"),
    Row(_SET_UP, PartnerUnavailable, (ENDED,), "`ended cancelled`; the other goes back to the queue"),
    # --- connecting ---
    Row(
        (CONNECTING,),
        MediaConnected,
        (None, LIVE, RECONNECTING),
        "the second claim starts the clock: `live` (a side without a socket just then: `reconnecting`)",
        refuses=(ErrorCode.BAD_STATE,),
    ),
    Row((CONNECTING,), MediaDisconnected, _STAYS, "that side's claim is void"),
    Row((CONNECTING,), MediaFailed, _STAYS, "both claims are void; `call.reset` to both"),
    Row((CONNECTING,), HungUp, (ENDED,), "`ended cancelled`; the other goes back to the queue"),
    # --- live and reconnecting: media ---
    Row((LIVE,), MediaConnected, _STAYS, "in effect already: `ok`"),
    Row((RECONNECTING,), MediaConnected, (None, LIVE), "`live` when both have a socket and both have media"),
    Row((LIVE,), MediaDisconnected, (RECONNECTING,), "`reconnecting`; the clock runs on"),
    Row((LIVE,), MediaFailed, (RECONNECTING,), "`reconnecting`; `call.reset` to both"),
    Row(
        (RECONNECTING,), MediaDisconnected, _STAYS, "that side's claim is void; the first loss' timer runs on"
    ),
    Row((RECONNECTING,), MediaFailed, _STAYS, "both claims are void; `call.reset` to both"),
    # --- live and reconnecting: video ---
    Row(
        (LIVE,),
        VideoRequested,
        _STAYS,
        "pending; the other side decides",
        ASKERS,
        (ErrorCode.ALREADY_REQUESTED, ErrorCode.ALREADY_ALLOWED, ErrorCode.LIMIT_REACHED, ErrorCode.COOLDOWN),
    ),
    Row(
        (RECONNECTING,),
        VideoRequested,
        (),
        "one side is away: wait for `live`",
        ASKERS,
        (ErrorCode.PEER_RECONNECTING,),
    ),
    Row(
        (LIVE,),
        VideoApproved,
        _STAYS,
        "allowed as named; a controller needs no request; `receive` after `both` takes the own sending back",
        DECIDERS,
        (ErrorCode.NO_PENDING_REQUEST, ErrorCode.LIMIT_REACHED),
    ),
    Row(
        (RECONNECTING,),
        VideoApproved,
        _STAYS,
        "only what takes back or changes nothing",
        DECIDERS,
        (ErrorCode.PEER_RECONNECTING, ErrorCode.NO_PENDING_REQUEST),
    ),
    Row(
        _TALK,
        VideoDenied,
        _STAYS,
        "the request is closed, and its cooldown begins",
        DECIDERS,
        (ErrorCode.NO_PENDING_REQUEST,),
    ),
    Row(_TALK, VideoRevoked, _STAYS, "all video is forbidden at once, and must be off within its window"),
    Row(_TALK, VideoStopped, _STAYS, "the window for that video is closed"),
    # --- live and reconnecting: time ---
    Row(
        (LIVE,),
        ExtensionRequested,
        _STAYS,
        "pending; the other's pending: both agree, and the clock is put forward",
        refuses=(ErrorCode.LIMIT_REACHED,),
    ),
    Row(
        (LIVE,),
        ExtensionAnswered,
        _STAYS,
        "yes puts the clock forward, no closes the request",
        refuses=(ErrorCode.NO_PENDING_EXTENSION,),
    ),
    Row(
        (RECONNECTING,),
        ExtensionRequested,
        (),
        "one side is away: wait for `live`",
        refuses=(ErrorCode.PEER_RECONNECTING,),
    ),
    Row(
        (RECONNECTING,),
        ExtensionAnswered,
        (),
        "one side is away: wait for `live`",
        refuses=(ErrorCode.PEER_RECONNECTING,),
    ),
    # --- live, reconnecting and deciding: staying in touch, leaving ---
    Row(
        _TALK,
        ConnectRequested,
        _STAYS,
        "the connection is made (mutual: when both have asked; the first wish stays secret), the call goes on",
        DECIDERS,
        (ErrorCode.LIMIT_REACHED,),
    ),
    Row(
        _TALK,
        ConnectPassed,
        _STAYS,
        "mutual: an own secret wish is taken back",
        DECIDERS,
        (ErrorCode.BAD_STATE,),
    ),
    Row(
        _TALK,
        HungUp,
        (DECIDING, ENDED),
        "`deciding` if live for `decide_after_s` and not connected, else `ended hangup`",
    ),
    Row(
        (DECIDING,),
        ConnectRequested,
        (None, ENDED),
        "`ended connected` (mutual: when both have asked)",
        DECIDERS,
        (ErrorCode.LIMIT_REACHED,),
    ),
    Row((DECIDING,), ConnectPassed, (ENDED,), "`ended completed`", DECIDERS),
    Row(
        (DECIDING,),
        HungUp,
        (None, ENDED),
        "`ended completed`, if the seat had been told that there is something to decide",
        DECIDERS,
    ),
    # --- the queue ---
    Row(_UNDER_WAY, QueueJoined, (), "one call at a time", refuses=(ErrorCode.IN_CALL,)),
    Row((DECIDING,), QueueJoined, (ENDED,), "`ended completed`", DECIDERS),
    Row((DECIDING,), QueueJoined, _STAYS, "free to queue", GUEST),
    Row((ENDED,), QueueJoined, _STAYS, "free to queue"),
    # --- sessions ---
    Row(
        _SET_UP,
        SeatAttached,
        _STAYS,
        "the seat is there; a new session has to claim media again",
        refuses=(ErrorCode.WRONG_DEVICE,),
    ),
    Row(
        _TALK,
        SeatAttached,
        (LIVE, RECONNECTING),
        "`live` if both have media; a new session has to claim it again",
        refuses=(ErrorCode.WRONG_DEVICE,),
    ),
    Row(
        (DECIDING,),
        SeatAttached,
        _STAYS,
        "the seat is there",
        DECIDERS,
        (ErrorCode.WRONG_DEVICE,),
    ),
    Row(_SET_UP, SeatDetached, _STAYS, "the seat is away"),
    Row((LIVE,), SeatDetached, (None, RECONNECTING), "`reconnecting`; the clock runs on"),
    Row((RECONNECTING,), SeatDetached, _STAYS, "the seat is away; the first loss' timer runs on"),
    Row((DECIDING,), SeatDetached, _STAYS, "the seat is away", DECIDERS),
    Row((PROPOSED,), SessionEnded, (None, ENDED), "as hanging up"),
    Row((CONNECTING,), SessionEnded, (None, ENDED), "as hanging up"),
    Row(_TALK, SessionEnded, (None, DECIDING, ENDED), "as hanging up"),
    Row((DECIDING,), SessionEnded, (None, ENDED), "as hanging up", DECIDERS),
    # --- the server ---
    Row(_MEDIA, SignalingLimitReached, (ENDED,), "`ended signaling_limit`"),
    Row(_MEDIA, QualityReported, _STAYS, "kept for history; nobody is told"),
    Row(
        (*_MEDIA, DECIDING, ENDED),
        RelayRefused,
        _STAYS,
        "counted and noted in the consent log, also when it was just before the end; nobody is told",
    ),
    Row(_OPEN, Moderated, (ENDED,), "`ended moderation`"),
    Row(_OPEN, Blocked, (ENDED,), "`ended hangup` for both; nothing to decide"),
    Row((ENDED,), Blocked, _STAYS, "`ok`: the block counts, the call is over already"),
    Row((ENDED,), ConnectRequested, _STAYS, "same answer as before", DECIDERS, (ErrorCode.CALL_ENDED,)),
    # --- time: see the timers ---
    Row((PROPOSED,), TimerFired, (None, ENDED), "`ended no_answer`"),
    Row((CONNECTING,), TimerFired, (None, ENDED), "`ended connect_timeout`"),
    Row((LIVE,), TimerFired, (None, DECIDING, ENDED), "`deciding`, or `ended`"),
    Row((RECONNECTING,), TimerFired, (None, DECIDING, ENDED), "`deciding`, or `ended`"),
    Row((DECIDING,), TimerFired, (None, ENDED), "`ended completed`"),
)

_BY_PLACE: Final = {
    (state, row.event, role): row for row in TABLE for state in row.states for role in row.who
}


def find(state: State, event: type[Event], role: Role | None) -> Row | None:
    """The row for an event in a state; `role` is its actor's, `None` where no single seat acts."""
    return _BY_PLACE.get((state, event, role or Role.MUTUAL))


def default_refusal(state: State, event: type[Event], role: Role | None) -> ErrorCode | None:
    """How an event without a row is refused; `None`: it is a fact, and ignored."""
    if event not in COMMANDS:
        return None
    if state is ENDED or (state is DECIDING and role is Role.GUEST):
        # A guest was told `call.ended` on entering `deciding`: for him the call is over.
        return ErrorCode.CALL_ENDED
    if role is not None and role not in ROLES.get(event, ANYONE):
        return ErrorCode.FORBIDDEN_ROLE
    return ErrorCode.BAD_STATE


EVENTS: Final = COMMANDS + FACTS
