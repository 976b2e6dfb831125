"""The call's brain: an event and the time go in, the next record, effects and a reply come out.

Decides nothing by itself: `table` says whether an event is legal, the files beside this one say what it does.
Refuses to know stores, sockets and clocks. The shell loads a record, calls `receive`, commits the record by
compare-and-set (on a lost race it loads again and decides again), and only then tells and acts.

What restricts does not wait for the commit: `restrict` is the node's own view from the moment it hears of it.
What permits binds only after it.
"""

from typing import Final, assert_never

import msgspec

from base.errors import ErrorCode
from signaling.call import connect, ending, extension, media, table, timers, video
from signaling.call.change import CallRefused, Change, Decision
from signaling.call.events import (
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
    actor,
)
from signaling.call.record import Call, SeatRecord
from signaling.call.states import RELAYING, EndReason, Role, Seat, State

RESTRICTIONS: Final[tuple[type[Event], ...]] = (
    Declined,
    HungUp,
    SessionEnded,
    Blocked,
    VideoRevoked,
    ConnectPassed,
    QueueJoined,
    SignalingLimitReached,
    Moderated,
    TimerFired,
)
"""Events that can take something away and never give anything. `VideoApproved` may do either: see `restricts`."""


def receive(call: Call, event: Event, now_ms: int) -> Decision:
    """What an event comes to at `now_ms` (Unix milliseconds, the store's clock).

    An event that is in effect already, and a fact that means nothing any more, give back the very record that went
    in; then there is nothing to commit and nothing to tell.

    Raises:
        CallRefused: the event is illegal; nothing has changed.
    """
    seat = actor(event)
    role = None if seat is None else call.seat(seat).role
    row = table.find(call.state, type(event), role)
    if row is None:
        refusal = table.default_refusal(call.state, type(event), role)
        if refusal is not None:
            raise CallRefused(code=refusal)
        return Decision(call)
    if not row.becomes:
        raise CallRefused(code=row.refuses[0])
    change = Change(call, now_ms)
    _apply(change, event)
    return change.decision()


def restricts(call: Call, event: Event) -> bool:
    """Whether an event, as the call stands, only takes something away.

    Such a change is held to, and may be told, before it is committed; it is never refused because the store is away,
    but committed when that is back.
    """
    if isinstance(event, RESTRICTIONS):
        return True
    return isinstance(event, VideoApproved) and video.only_narrows(call, event)


def restrict(call: Call, event: Event, now_ms: int) -> Call:
    """What a node holds itself to from the moment it hears of an event, before any commit.

    The very record that went in where there is nothing to hold to: the event gives something too, is illegal, or
    takes away nothing that could not wait. The version stays: this view is judged by, never stored.
    """
    if not restricts(call, event):
        return call
    try:
        decided = receive(call, event, now_ms).call
    except CallRefused:
        return call
    if decided.state in (State.DECIDING, State.ENDED):
        return call if decided is call else msgspec.structs.replace(decided, version=call.version)
    if not isinstance(event, (VideoRevoked, VideoApproved)):
        # A request that lapsed, a wish taken back: nothing flows by them.
        return call
    view = msgspec.structs.replace(
        call,
        a=_narrower(call.a, decided.a),
        b=_narrower(call.b, decided.b),
        video_request=decided.video_request,
    )
    return call if view == call else view


def check_relay(call: Call, seat: Seat) -> None:
    """Accepts by returning that this seat's descriptions and candidates may be relayed, as far as the state goes.

    Raises:
        CallRefused: `call_ended` or `bad_state`.
    """
    if call.state in RELAYING:
        return
    over = call.state is State.ENDED or call.seat(seat).freed
    raise CallRefused(code=ErrorCode.CALL_ENDED if over else ErrorCode.BAD_STATE)


def _narrower(mine: SeatRecord, decided: SeatRecord) -> SeatRecord:
    return msgspec.structs.replace(mine, video_allowed=mine.video_allowed and decided.video_allowed)


def _apply(change: Change, event: Event) -> None:
    match event:
        case Accepted(seat):
            media.accept(change, seat)
        case Declined(seat):
            ending.walk_out(change, seat)
        case HungUp():
            ending.hang_up(change, event)
        case SessionEnded():
            ending.end_session(change, event)
        case SeatAttached():
            media.attach(change, event)
        case SeatDetached():
            media.detach(change, event)
        case MediaConnected():
            media.claim(change, event)
        case MediaDisconnected(seat):
            media.lose(change, seat)
        case MediaFailed(seat):
            media.reset(change, seat)
        case QualityReported():
            media.report(change, event)
        case RelayRefused():
            media.count_refusal(change, event)
        case VideoRequested() | VideoApproved() | VideoDenied() | VideoRevoked() | VideoStopped():
            _apply_video(change, event)
        case ExtensionRequested(seat):
            extension.request(change, seat)
        case ExtensionAnswered():
            extension.answer(change, event)
        case ConnectRequested():
            connect.request(change, event)
        case ConnectPassed(seat):
            connect.decline(change, seat)
        case QueueJoined(seat):
            if change.call.state is State.DECIDING and change.call.seat(seat).role is not Role.GUEST:
                ending.pass_by(change, seat)
        case Blocked(seat):
            ending.block(change, seat)
        case PartnerUnavailable():
            ending.cancel(change, event)
        case SignalingLimitReached(seat):
            ending.cut_off(change, EndReason.SIGNALING_LIMIT, seat)
        case Moderated(about):
            ending.cut_off(change, EndReason.MODERATION, about)
        case TimerFired():
            timers.fire_due(change)
        case _:
            assert_never(event)


def _apply_video(
    change: Change, event: VideoRequested | VideoApproved | VideoDenied | VideoRevoked | VideoStopped
) -> None:
    match event:
        case VideoRequested(seat):
            video.request(change, seat)
        case VideoApproved():
            video.approve(change, event)
        case VideoDenied(seat):
            video.deny(change, seat)
        case VideoRevoked():
            video.revoke(change, event)
        case VideoStopped():
            video.stop(change, event)
        case _:
            assert_never(event)
