"""How a call ends: who is told what, who goes back to the queue, and when there is something to decide first.

Decides the way from media to `deciding` or `ended`. Each seat is let go exactly once (`freed`): it is told
`call.ended`, and its ticket is returned or released.

Who goes back: where a call ends before anybody was heard, whoever did not cause that keeps the old place in the
queue. The design names four reasons; a block, a spent signaling budget and moderation before the call is live are
treated alike, since the other person did nothing and would otherwise lose the place to somebody else's fault.
"""

from collections.abc import Iterable

from signaling.call.change import Change, ms
from signaling.call.effects import CloseMedia, OpenConnection, ReleaseTicket, RememberPartners, ReturnTicket
from signaling.call.events import HungUp, PartnerUnavailable, SessionEnded
from signaling.call.record import ConsentKind
from signaling.call.states import RELAYING, SEATS, TALKING, EndReason, Role, Seat, State, other
from signaling.protocol.messages.call import CallEnded, ConnectPrompt


def hang_up(change: Change, event: HungUp) -> None:
    """Leaves what the seat saw: where that was the talk, it has answered nothing that is asked after it."""
    state = change.call.state
    if event.passes and state in TALKING:
        end(change, EndReason.HANGUP)
    elif event.passes or state is not State.DECIDING:
        walk_out(change, event.seat)


def walk_out(change: Change, seat: Seat) -> None:
    """Leaves the call in whatever state it is."""
    match change.call.state:
        case State.PROPOSED:
            end(change, EndReason.DECLINED, requeue=(other(seat),))
        case State.CONNECTING:
            end(change, EndReason.CANCELLED, requeue=(other(seat),))
        case State.LIVE | State.RECONNECTING:
            leave(change, EndReason.HANGUP)
        case State.DECIDING:
            pass_by(change, seat)
        case State.ENDED:
            pass


def end_session(change: Change, event: SessionEnded) -> None:
    """A session that is over hangs up, if it was the seat's."""
    if change.call.seat(event.seat).session_id != event.session_id:
        return
    # Forgotten, so that hearing of the same end twice does not hang up a second time, while the user decides.
    change.set_seat(event.seat, session_id="", attached=False)
    walk_out(change, event.seat)


def block(change: Change, seat: Seat) -> None:
    """Ends the call for both, and there is nothing to decide; afterwards, nothing is left to end."""
    if change.call.state is not State.ENDED:
        # The reason says `hangup` to both: who was blocked is told nothing more.
        end(change, EndReason.HANGUP, requeue=_innocent(change, seat))


def cancel(change: Change, event: PartnerUnavailable) -> None:
    """One of the two could not be brought into the call."""
    requeue = SEATS if event.still_waiting else (other(event.seat),)
    end(change, EndReason.CANCELLED, requeue=requeue)


def cut_off(change: Change, reason: EndReason, seat: Seat | None) -> None:
    """The server ends the call, because of one seat or of neither."""
    end(change, reason, requeue=_innocent(change, seat))


def leave(change: Change, reason: EndReason) -> None:
    """Media is over: there is something to decide if the two talked long enough and are not connected yet."""
    call = change.call
    talked_ms = change.now_ms - (call.live_since or change.now_ms)
    if not call.connected and talked_ms >= round(call.policy.decide_after_s * 1000):
        decide(change, reason)
    elif call.connected and reason is EndReason.NETWORK_LOST:
        end(change, EndReason.COMPLETED)
    else:
        end(change, reason)


def run_out(change: Change) -> None:
    """The clock is at its end."""
    if change.call.connected:
        end(change, EndReason.COMPLETED)
    else:
        decide(change, EndReason.COMPLETED)


def decide(change: Change, reason: EndReason) -> None:
    """Asks who decides whether the two stay in touch; for a guest the call is over, for that reason."""
    _close(change)
    deadline_at = change.now_ms + ms(change.call.policy.deciding_s)
    change.set(state=State.DECIDING, deadline_at=deadline_at, closed_for=reason)
    for seat in SEATS:
        record = change.call.seat(seat)
        if record.role is Role.GUEST:
            _free(change, seat, reason, requeued=False)
        elif not record.wishes_connection:
            # Whoever has said yes already is not asked again.
            change.send(seat, ConnectPrompt(call_id=change.call.call_id, expires_at=deadline_at))


def pass_by(change: Change, seat: Seat) -> None:
    """One who decides does not want to stay in touch."""
    change.note(ConsentKind.CONNECT_PASSED, seat)
    end(change, EndReason.COMPLETED)


def end(change: Change, reason: EndReason, requeue: Iterable[Seat] = ()) -> None:
    """Ends the call for whomever it is not over yet."""
    if change.call.state is not State.DECIDING:
        _close(change)
    change.set(state=State.ENDED, deadline_at=None, ended_at=change.now_ms, reason=reason)
    if reason is EndReason.CONNECTED and change.call.connection_id is not None:
        change.do(OpenConnection(change.call.connection_id))
    for seat in SEATS:
        if not change.call.seat(seat).freed:
            _free(change, seat, reason, requeued=seat in requeue)


def _close(change: Change) -> None:
    """Stops media and all that is asked about it."""
    call = change.call
    if call.state in RELAYING:
        change.do(CloseMedia())
    if call.state in TALKING:
        change.set(closed_at=change.now_ms)
    change.set(video_request=None, extension_request=None)
    for seat in SEATS:
        change.set_seat(seat, video_allowed=False, video_off_at=None, media_connected=False)
    # Before either may queue again, so that they are not matched at once.
    change.do(RememberPartners())


def _free(change: Change, seat: Seat, reason: EndReason, *, requeued: bool) -> None:
    change.set_seat(seat, freed=True, requeued=requeued)
    ended = CallEnded(
        call_id=change.call.call_id, reason=reason, duration_ms=change.call.duration_ms, requeued=requeued
    )
    if requeued:
        # Told first: the next `match.found` must not overtake the end of this call.
        change.send(seat, ended)
        change.do(ReturnTicket(seat))
    else:
        # Freed first: whoever hears of the end may queue again at once.
        change.do(ReleaseTicket(seat))
        change.send(seat, ended)


def _innocent(change: Change, cause: Seat | None) -> tuple[Seat, ...]:
    """Who goes back to the queue where a call ends otherwise than by its own rules."""
    if change.call.live_since is not None:
        return ()
    return SEATS if cause is None else (other(cause),)
