"""Staying in touch: who may wish for it, when a wish makes the connection, and that a first wish stays secret.

Decides that a controller's word is enough, and that a mutual call needs both. A secret wish is in the record but
neither told nor shown, and the other's view does not even count a version for it. Refuses to know how a connection
is written or where chat happens.
"""

from base.errors import ErrorCode
from base.ids import ConnectionId
from signaling.call.change import MAX_WHEN_WISHING, CallRefused, Change
from signaling.call.effects import OpenConnection
from signaling.call.ending import end, pass_by
from signaling.call.events import ConnectRequested
from signaling.call.record import ConsentKind
from signaling.call.states import EndReason, Role, Seat, State, other


def request(change: Change, event: ConnectRequested) -> None:
    """Wishes to stay in touch. Repeated: the same answer, also after the call."""
    call, seat = change.call, event.seat
    mine = call.seat(seat)
    if call.state is State.ENDED and not call.connected:
        raise CallRefused(code=ErrorCode.CALL_ENDED)
    if not mine.wishes_connection:
        if mine.role is Role.MUTUAL and len(call.events) >= MAX_WHEN_WISHING:
            raise CallRefused("changed too often", code=ErrorCode.LIMIT_REACHED)
        change.set_seat(seat, wishes_connection=True)
        change.note(ConsentKind.CONNECT_WISHED, seat)
        if mine.role is Role.CONTROLLER or call.peer(seat).wishes_connection:
            _connect(change, event.connection_id)
        else:
            change.hide_from(other(seat))
    change.reply = {"connected": change.call.connected}
    if change.call.connection_id is not None:
        change.reply["connection_id"] = change.call.connection_id


def decline(change: Change, seat: Seat) -> None:
    """Does not wish to stay in touch: decides the call that waits for it, or takes an earlier wish back.

    While the two talk only a mutual call knows a wish that has not come true, and whoever made it may change
    their mind, as secretly as it was made.
    """
    call = change.call
    if call.state is State.DECIDING:
        pass_by(change, seat)
        return
    if call.connected or call.seat(seat).role is not Role.MUTUAL:
        raise CallRefused("there is nothing to decide yet")
    if call.seat(seat).wishes_connection:
        change.set_seat(seat, wishes_connection=False)
        change.note(ConsentKind.CONNECT_PASSED, seat)
        change.hide_from(other(seat))


def _connect(change: Change, connection_id: ConnectionId) -> None:
    change.set(connected=True, connection_id=connection_id)
    change.note(ConsentKind.CONNECTED, None)
    if change.call.state is State.DECIDING:
        end(change, EndReason.CONNECTED)
    else:
        change.do(OpenConnection(connection_id))
