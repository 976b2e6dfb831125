"""Consent to video: asking, allowing per sender, denying, revoking.

Decides who may send video. In a controlled call the controller alone opens it, with or without having been asked;
in a mutual call one asks and the other approves, so that both have wanted it. Either may take all of it back at any
time. What was revoked must be off within the policy's window, by an answer that was relayed: else the call ends.

A seat asks for its own sending, so `already_allowed` looks at the asker alone. Requests and their cooldown are
counted per seat: one who denied may still ask.
"""

from typing import Literal

from base.errors import ErrorCode
from signaling.call.change import MAX_WHEN_VIDEO_OPENS, CallRefused, Change, ms
from signaling.call.events import VideoApproved, VideoRevoked, VideoStopped
from signaling.call.record import Call, ConsentKind, Pending
from signaling.call.states import SEATS, Role, Seat, State, other
from signaling.protocol.messages import call as wire


def request(change: Change, seat: Seat) -> None:
    """Asks the other side to open video."""
    call, mine = change.call, change.call.seat(seat)
    if call.video_request is not None:
        # Also when the other side asked: it waits for a clear yes, not for a crossing.
        raise CallRefused(code=ErrorCode.ALREADY_REQUESTED)
    if mine.video_allowed:
        raise CallRefused(code=ErrorCode.ALREADY_ALLOWED)
    if mine.video_requests >= call.policy.max_video_requests:
        # Before the cooldown: a wait after which nothing is possible is not worth telling.
        raise CallRefused(code=ErrorCode.LIMIT_REACHED)
    if mine.video_cooldown_at is not None and change.now_ms < mine.video_cooldown_at:
        raise CallRefused(code=ErrorCode.COOLDOWN, retry_after_ms=mine.video_cooldown_at - change.now_ms)
    until_at = change.now_ms + ms(call.policy.video_request_s)
    change.set(video_request=Pending(by=seat, until_at=until_at))
    change.set_seat(seat, video_requests=mine.video_requests + 1)
    change.note(ConsentKind.VIDEO_ASKED, seat)
    change.send(other(seat), wire.VideoRequested(call_id=call.call_id, until_at=until_at))
    change.reply = {"until_at": until_at}


def approve(change: Change, event: VideoApproved) -> None:
    """Sets who may send, as the approver names it."""
    call, seat, peer = change.call, event.seat, other(event.seat)
    pending = call.video_request
    # A request that ran out is void, also while its timer has not fired yet.
    asked = pending is not None and pending.by == peer and change.now_ms < pending.until_at
    widens, narrows = _differences(call, event)
    if widens:
        if call.seat(seat).role is Role.MUTUAL and not asked:
            raise CallRefused("nobody else has asked for it", code=ErrorCode.NO_PENDING_REQUEST)
        if call.state is State.RECONNECTING:
            raise CallRefused(code=ErrorCode.PEER_RECONNECTING)
        if len(call.events) >= MAX_WHEN_VIDEO_OPENS:
            raise CallRefused("video was opened too often", code=ErrorCode.LIMIT_REACHED)
    if pending is not None and pending.by == peer:
        change.set(video_request=None)
    _take_back(change, narrows, by=seat)
    for sender in widens:
        change.set_seat(sender, video_allowed=True, video_off_at=None)
        change.note(ConsentKind.VIDEO_ALLOWED, seat, sender=sender, direction=event.direction)
    if widens:
        change.send_both(wire.VideoAllowed(call_id=call.call_id, video_allowed=flags(change)))


def only_narrows(call: Call, event: VideoApproved) -> bool:
    """Whether an approval takes a permission back and gives none."""
    widens, narrows = _differences(call, event)
    return bool(narrows) and not widens


def deny(change: Change, seat: Seat) -> None:
    """Refuses the other side's request."""
    pending = change.call.video_request
    if pending is None or pending.by == seat or change.now_ms >= pending.until_at:
        raise CallRefused(code=ErrorCode.NO_PENDING_REQUEST)
    _refuse(change, pending, by=seat)


def lapse(change: Change) -> None:
    """The pending request ran out, which counts as a denial."""
    pending = change.call.video_request
    if pending is not None:
        _refuse(change, pending, by=None)


def revoke(change: Change, event: VideoRevoked) -> None:
    """Takes back all video at once; with nothing allowed, nothing happens."""
    call, seat, pending = change.call, event.seat, change.call.video_request
    age_ms = event.age_ms
    since = [] if age_ms is None else [entry for entry in call.events if entry.at > change.now_ms - age_ms]
    asked_since = any(entry.kind is ConsentKind.VIDEO_ASKED and entry.by == seat for entry in since)
    if pending is not None and pending.by == seat and not asked_since:
        # Or the other side's approval would open what was just taken back.
        change.set(video_request=None)
    given_since = {entry.sender for entry in since if entry.kind is ConsentKind.VIDEO_ALLOWED}
    taken = [sender for sender in SEATS if call.seat(sender).video_allowed and sender not in given_since]
    _take_back(change, taken, by=seat)


def stop(change: Change, event: VideoStopped) -> None:
    """A relayed answer has video off for these seats: their windows are closed."""
    for seat in event.seats:
        change.set_seat(seat, video_off_at=None)


def flags(change: Change) -> wire.SeatFlags:
    return wire.SeatFlags(a=change.call.a.video_allowed, b=change.call.b.video_allowed)


def _differences(call: Call, event: VideoApproved) -> tuple[list[Seat], list[Seat]]:
    """Whom an approval would newly allow to send, and whom no longer."""
    wanted: dict[Seat, bool] = {event.seat: event.direction == "both", other(event.seat): True}
    widens = [seat for seat in SEATS if wanted[seat] and not call.seat(seat).video_allowed]
    narrows = [seat for seat in SEATS if call.seat(seat).video_allowed and not wanted[seat]]
    return widens, narrows


def _refuse(change: Change, pending: Pending, *, by: Seat | None) -> None:
    reason: Literal["denied", "timeout"] = "timeout" if by is None else "denied"
    change.set(video_request=None)
    change.set_seat(
        pending.by, video_cooldown_at=change.now_ms + round(change.call.policy.video_cooldown_s * 1000)
    )
    change.note(ConsentKind.VIDEO_DENIED, by, reason=reason)
    change.send(pending.by, wire.VideoDenied(call_id=change.call.call_id, reason=reason))


def _take_back(change: Change, senders: list[Seat], *, by: Seat) -> None:
    if not senders:
        return
    off_at = change.now_ms + ms(change.call.policy.revoke_window_s)
    for sender in senders:
        change.set_seat(sender, video_allowed=False, video_off_at=off_at)
        change.note(ConsentKind.VIDEO_REVOKED, by, sender=sender)
    change.send_both(wire.VideoRevoked(call_id=change.call.call_id, video_allowed=flags(change)))
