"""More time: one asks, the other agrees, and the clock is put forward.

Decides how often that goes and how long a question stands. Two who ask at the same moment agree.
"""

from base.errors import ErrorCode
from signaling.call.change import CallRefused, Change, ms
from signaling.call.events import ExtensionAnswered
from signaling.call.record import Pending
from signaling.call.states import Seat, other
from signaling.protocol.messages.call import CallExtendRequested


def request(change: Change, seat: Seat) -> None:
    """Asks for more time, or agrees with the other who has just asked. Repeated: the same answer."""
    call, pending = change.call, _standing(change)
    if call.extensions >= call.policy.max_extensions:
        raise CallRefused(code=ErrorCode.LIMIT_REACHED)
    if pending is not None and pending.by == seat:
        change.reply = {"until_at": pending.until_at}
        return
    if pending is not None:
        _extend(change)
        return
    until_at = change.now_ms + ms(call.policy.extend_request_s)
    if call.ends_at is not None:
        # The question is void when there is no call left to extend.
        until_at = min(until_at, call.ends_at)
    change.set(extension_request=Pending(by=seat, until_at=until_at))
    change.send(other(seat), CallExtendRequested(call_id=call.call_id, until_at=until_at))
    change.reply = {"until_at": until_at}


def answer(change: Change, event: ExtensionAnswered) -> None:
    """Agrees to more time or not; who asked sees it in `call.state`."""
    pending = _standing(change)
    if pending is None or pending.by == event.seat:
        raise CallRefused(code=ErrorCode.NO_PENDING_EXTENSION)
    if event.accept:
        _extend(change)
    else:
        change.set(extension_request=None)


def lapse(change: Change) -> None:
    """Nobody answered in time."""
    change.set(extension_request=None)


def _standing(change: Change) -> Pending | None:
    """The open request; one that ran out is void, also while its timer has not fired yet."""
    pending = change.call.extension_request
    return pending if pending is not None and change.now_ms < pending.until_at else None


def _extend(change: Change) -> None:
    call = change.call
    ends_at = (call.ends_at or change.now_ms) + ms(call.policy.call_seconds)
    change.set(extension_request=None, extensions=call.extensions + 1, ends_at=ends_at)
    change.reply = {"ends_at": ends_at}
