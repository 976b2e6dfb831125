"""What a seat has missed: the messages that follow from two records of one call.

Decides what somebody has to hear who knew the older record and now learns of the newer one, whatever lay between: for
the very next record what the rules told, for later ones what still counts of all that was told. A question that was asked
and answered in between is not told, its answer is; a permission that was taken back again is not told either. `call.state`
is not among it: it is told whenever `signaling.call.view.must_hear` says so. Refuses to know why the news are late.
"""

from collections.abc import Iterator

from signaling.call.effects import Send, SendIceServers
from signaling.call.record import Call, ConsentEvent, ConsentKind, Pending
from signaling.call.states import RELAYING, SEATS, EndReason, Role, Seat, State, other
from signaling.protocol.messages import call as wire
from signaling.protocol.messages.family import ServerMessage


def news(before: Call, after: Call, seat: Seat) -> list[Send | SendIceServers]:
    """What a seat has to hear of all that happened between two records, but its `call.state`."""
    if before.seat(seat).freed:
        return []  # the end was the last that it heard
    told: list[Send | SendIceServers] = []
    if before.state is State.PROPOSED and after.state in RELAYING:
        told.append(SendIceServers(seat))
    told += (Send(seat, message) for message in _messages(before, after, seat))
    return told


def call_ended(call: Call, seat: Seat) -> wire.CallEnded:
    """What a seat hears for which the call is over."""
    return wire.CallEnded(
        call_id=call.call_id,
        reason=_reason(call, seat),
        duration_ms=call.duration_ms,
        requeued=call.seat(seat).requeued,
    )


def _messages(before: Call, after: Call, seat: Seat) -> Iterator[ServerMessage]:
    call_id = after.call_id
    if after.resets > before.resets:
        yield wire.CallReset(call_id=call_id)
    yield from _of_consent(before, after, seat)
    if asked := _asked(before.video_request, after.video_request, seat):
        yield wire.VideoRequested(call_id=call_id, until_at=asked.until_at)
    if asked := _asked(before.extension_request, after.extension_request, seat):
        yield wire.CallExtendRequested(call_id=call_id, until_at=asked.until_at)
    mine = after.seat(seat)
    if mine.freed:
        yield call_ended(after, seat)
    elif _must_decide(before, after, seat) and after.deadline_at is not None:
        yield wire.ConnectPrompt(call_id=call_id, expires_at=after.deadline_at)


def _of_consent(before: Call, after: Call, seat: Seat) -> Iterator[ServerMessage]:
    """Permissions taken back, given and refused; given only where they stand: an old yes is no news."""
    call_id, known = after.call_id, len(before.events)
    # The log of another past says nothing: then what stands now is all that can be said.
    fresh = after.events[known:] if after.events[:known] == before.events else ()
    revoked = {event.sender for event in fresh if event.kind is ConsentKind.VIDEO_REVOKED}
    if not fresh and after.state in RELAYING:
        revoked = {each for each in SEATS if before.seat(each).video_allowed > after.seat(each).video_allowed}
    left = {each: before.seat(each).video_allowed and each not in revoked for each in SEATS}
    if revoked:
        flags = wire.SeatFlags(a=left["a"], b=left["b"])
        yield wire.VideoRevoked(call_id=call_id, video_allowed=flags)
    if any(after.seat(each).video_allowed and not left[each] for each in SEATS):
        flags = wire.SeatFlags(a=after.a.video_allowed, b=after.b.video_allowed)
        yield wire.VideoAllowed(call_id=call_id, video_allowed=flags)
    for event in fresh:
        if event.kind is ConsentKind.VIDEO_DENIED and _asker(after.events, event) == seat:
            yield wire.VideoDenied(call_id=call_id, reason=event.reason or "denied")


def _asker(log: tuple[ConsentEvent, ...], denied: ConsentEvent) -> Seat | None:
    """Whose request it was that an entry says was refused, or ran out."""
    if denied.by is not None:
        return other(denied.by)
    asked = [entry.by for entry in log[: log.index(denied)] if entry.kind is ConsentKind.VIDEO_ASKED]
    return asked[-1] if asked else None


def _asked(before: Pending | None, after: Pending | None, seat: Seat) -> Pending | None:
    """The open question to a seat that it has not heard."""
    return after if after is not None and after != before and after.by != seat else None


def _must_decide(before: Call, after: Call, seat: Seat) -> bool:
    begun = after.state is State.DECIDING and before.state is not State.DECIDING
    return begun and after.seat(seat).role is not Role.GUEST and not after.seat(seat).wishes_connection


def _reason(call: Call, seat: Seat) -> EndReason:
    """Why the call ended for a seat: a guest's part is over while the other still decides."""
    if call.seat(seat).role is Role.GUEST and call.closed_for is not None:
        return call.closed_for
    return call.reason or EndReason.COMPLETED
