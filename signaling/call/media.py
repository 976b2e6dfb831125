"""Setting up and keeping media: accepting, both sides' claims, losing and finding each other again.

Decides when the clock starts, and when a call is `live` or `reconnecting`: it is live while both seats have a socket
and both claim that media flows. One side's claim alone never starts the clock. The clock never stops: losing the
network gains no time.
"""

from typing import Final

from base.errors import ErrorCode
from signaling.call.change import CallRefused, Change, ms
from signaling.call.effects import SendIceServers, SettleMatch
from signaling.call.events import MediaConnected, QualityReported, RelayRefused, SeatAttached, SeatDetached
from signaling.call.states import SEATS, TALKING, Seat, State
from signaling.protocol.messages.call import CallReset

MAX_RESETS: Final = 12
"""Over a whole call; after that, `call.media failed` only says that media is gone."""


def accept(change: Change, seat: Seat) -> None:
    """Takes the call; when both have, they begin to connect. Repeated: nothing more."""
    change.set_seat(seat, accepted=True)
    call = change.call
    if call.state is State.PROPOSED and call.a.accepted and call.b.accepted:
        change.set(state=State.CONNECTING, deadline_at=change.now_ms + ms(call.policy.connecting_s))
        # Not before: whoever declines learns no relay.
        change.do(*(SendIceServers(seat) for seat in SEATS))


def claim(change: Change, event: MediaConnected) -> None:
    """Takes a seat's word that media flows; the second one starts the clock."""
    call = change.call
    if call.state is State.CONNECTING and not event.answer_relayed:
        raise CallRefused("no answer has been relayed yet")
    change.set_seat(event.seat, media_connected=True)
    if call.state is State.CONNECTING and change.call.peer(event.seat).media_connected:
        _go_live(change)
    _follow(change)


def lose(change: Change, seat: Seat) -> None:
    """A seat has no media for the moment."""
    change.set_seat(seat, media_connected=False)
    _follow(change)


def reset(change: Change, seat: Seat) -> None:
    """Lets both build new peer connections, so that both have to claim media again."""
    call = change.call
    if call.resets >= MAX_RESETS:
        lose(change, seat)
        return
    change.set(resets=call.resets + 1)
    for each in SEATS:
        change.set_seat(each, media_connected=False)
    change.send_both(CallReset(call_id=call.call_id))
    _follow(change)


def attach(change: Change, event: SeatAttached) -> None:
    """A seat has a socket. A new session may be a page that was reloaded, so that it has to claim media again."""
    record = change.call.seat(event.seat)
    if record.device_id != event.device_id:
        raise CallRefused("the call belongs to another device", code=ErrorCode.WRONG_DEVICE)
    same = record.session_id == event.session_id
    change.set_seat(
        event.seat,
        attached=True,
        session_id=event.session_id,
        node_id=event.node_id,
        media_connected=record.media_connected and same,
    )
    _follow(change)


def detach(change: Change, event: SeatDetached) -> None:
    """A seat's session lost its socket. The late end of an older session, or of this one on the node that it came from, only
    says what had been spent there."""
    record = change.call.seat(event.seat)
    # Whatever became of the session: a budget must not begin anew because a newer one was faster.
    change.set_seat(event.seat, signaling_spent=max(record.signaling_spent, event.spent))
    if record.session_id == event.session_id and event.node_id in (None, record.node_id):
        change.set_seat(event.seat, attached=False)
        _follow(change)
    else:
        change.hide_from(*SEATS)


def report(change: Change, event: QualityReported) -> None:
    """Keeps the last measurements of a seat."""
    change.set_seat(event.seat, stats=event.stats)
    change.hide_from(*SEATS)


def count_refusal(change: Change, event: RelayRefused) -> None:
    """Counts and notes what the gate refused, also what it refused just before the end."""
    refusals = dict(change.call.refusals)
    refusals[event.code] = refusals.get(event.code, 0) + event.count
    change.set(refusals=refusals)
    change.note_refusal(event.seat, event.code, event.count)
    change.hide_from(*SEATS)


def _go_live(change: Change) -> None:
    change.set(
        state=State.LIVE,
        deadline_at=None,
        live_since=change.now_ms,
        ends_at=change.now_ms + ms(change.call.policy.call_seconds),
    )
    change.do(SettleMatch())


def _follow(change: Change) -> None:
    """Moves a call between `live` and `reconnecting`, as sockets and claims stand now."""
    call = change.call
    if call.state not in TALKING:
        return
    whole = all(call.seat(seat).attached and call.seat(seat).media_connected for seat in SEATS)
    if whole:
        change.set(state=State.LIVE, deadline_at=None)
    elif call.state is State.LIVE:
        # From the first loss on: a second one does not buy more time.
        change.set(state=State.RECONNECTING, deadline_at=change.now_ms + ms(call.policy.reconnecting_s))
