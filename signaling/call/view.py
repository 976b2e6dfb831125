"""A call as one seat may see it: the messages that are built from the record alone.

Decides what is shown of the other (never an id that outlives the call), that a guest sees an ended call while the
controller decides, and that a secret wish shows nowhere, not even as a gap between two versions.
"""

from signaling.call.record import Call, Pending, SeatRecord
from signaling.call.states import Seat, State
from signaling.protocol.messages.call import (
    CallState,
    IceTransportPolicy,
    PeerView,
    PendingView,
    PendingViews,
    SeatFlags,
)
from signaling.protocol.messages.queue import MatchFound


def call_state(call: Call, seat: Seat, now_ms: int) -> CallState:
    """The call for one seat, in `call.state` and in the snapshot."""
    mine = call.seat(seat)
    state = State.ENDED if mine.freed else call.state
    return CallState(
        call_id=call.call_id,
        intent=call.intent,
        version=view_version(call, seat),
        state=state.value,
        role=mine.role.value,
        seat=seat,
        offerer=seat == "a",
        peer=peer_view(call.peer(seat)),
        peer_attached=call.peer(seat).attached,
        video_allowed=SeatFlags(a=call.a.video_allowed, b=call.b.video_allowed),
        pending=PendingViews(
            video=_pending_view(call.video_request), extend=_pending_view(call.extension_request)
        ),
        connected=call.connected,
        server_now=now_ms,
        ends_at=call.ends_at,
        # In `live` the clock is what ends the state.
        deadline_at=call.ends_at
        if state is State.LIVE
        else call.deadline_at
        if state is call.state
        else None,
        extensions_left=max(0, call.policy.max_extensions - call.extensions),
        ice_transport_policy=_transport_policy(call),
    )


def view_version(call: Call, seat: Seat) -> int:
    """The version as a seat counts it: without the changes that are hidden from it."""
    return call.version - call.seat(seat).hidden


def must_hear(seat: Seat, before: Call | None, after: Call) -> bool:
    """Whether a seat is told `call.state` of a committed change; `before` is what was last known of the call.

    Not where the change is hidden from it, nor where the call was already over for it: then the change that ended it
    was its last.
    """
    if before is None:
        return not after.seat(seat).freed
    return not before.seat(seat).freed and view_version(after, seat) > view_version(before, seat)


def match_found(call: Call, seat: Seat, now_ms: int) -> MatchFound:
    """The proposal, as a seat hears of it."""
    return MatchFound(
        call_id=call.call_id,
        intent=call.intent,
        seat=seat,
        role=call.seat(seat).role.value,
        offerer=seat == "a",
        peer=peer_view(call.peer(seat)),
        accept_by_at=call.deadline_at or now_ms,
        server_now=now_ms,
        ice_transport_policy=_transport_policy(call),
    )


def peer_view(person: SeatRecord) -> PeerView:
    """What a stranger may know."""
    return PeerView(
        first_name=person.first_name,
        age=person.age,
        languages=list(person.languages),
        verified=person.verified,
    )


def _transport_policy(call: Call) -> IceTransportPolicy:
    """What the client sets as its `iceTransportPolicy`; the server passes on nothing else either."""
    return "relay" if call.policy.hides_addresses else "all"


def _pending_view(request: Pending | None) -> PendingView | None:
    return None if request is None else PendingView(by=request.by, until_at=request.until_at)
