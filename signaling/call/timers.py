"""What time does to a call.

Decides which timer is due and what it brings. Several that are due are fired in the order of their moments, each
seeing what the one before left; what they start counts from now, since now is when people are told. `TIMERS` is
what the documentation lists.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from signaling.call import ending, extension, video
from signaling.call.change import Change
from signaling.call.record import Call
from signaling.call.states import SEATS, TALKING, EndReason, State


@dataclass(frozen=True, slots=True)
class Timer:
    """One kind of timer; at one moment, the earlier in `TIMERS` fires first."""

    name: str
    policy: str
    """The field of the intent's policy with its duration."""
    moments: Callable[[Call], tuple[int | None, ...]]
    fire: Callable[[Change], None]
    brings: str


def fire_due(change: Change) -> None:
    """Fires whatever is due, until nothing is."""
    while due := min(_due(change.call, change.now_ms), default=None):
        _, order = due
        TIMERS[order].fire(change)


def _due(call: Call, now_ms: int) -> Iterator[tuple[int, int]]:
    for order, timer in enumerate(TIMERS):
        for at in timer.moments(call):
            if at is not None and at <= now_ms:
                yield at, order


def _state(state: State) -> Callable[[Call], tuple[int | None, ...]]:
    return lambda call: (call.deadline_at if call.state is state else None,)


def _clock(call: Call) -> tuple[int | None, ...]:
    return (call.ends_at if call.state in TALKING else None,)


def _video_request(call: Call) -> tuple[int | None, ...]:
    return (call.video_request.until_at if call.video_request else None,)


def _extension_request(call: Call) -> tuple[int | None, ...]:
    return (call.extension_request.until_at if call.extension_request else None,)


def _revocation(call: Call) -> tuple[int | None, ...]:
    return (call.a.video_off_at, call.b.video_off_at)


def _give_up_proposal(change: Change) -> None:
    accepted = [seat for seat in SEATS if change.call.seat(seat).accepted]
    ending.end(change, EndReason.NO_ANSWER, requeue=accepted)


def _give_up_connecting(change: Change) -> None:
    # Whoever is not there could not be matched: only those who are go back.
    attached = [seat for seat in SEATS if change.call.seat(seat).attached]
    ending.end(change, EndReason.CONNECT_TIMEOUT, requeue=attached)


TIMERS: Final[tuple[Timer, ...]] = (
    Timer(
        "video request",
        "video_request_s",
        _video_request,
        video.lapse,
        "counts as a denial: `video.denied {reason: timeout}` to whoever asked",
    ),
    Timer(
        "request for more time",
        "extend_request_s",
        _extension_request,
        extension.lapse,
        "lapses; the clock ends it too",
    ),
    Timer(
        "revoked video",
        "revoke_window_s",
        _revocation,
        lambda change: ending.end(change, EndReason.VIDEO_REVOKED),
        "`ended video_revoked`: no answer with that video off was relayed",
    ),
    Timer(
        "clock", "call_seconds", _clock, ending.run_out, "`deciding`; connected already: `ended completed`"
    ),
    Timer(
        "`proposed`",
        "proposed_s",
        _state(State.PROPOSED),
        _give_up_proposal,
        "`ended no_answer`; whoever had accepted goes back to the queue",
    ),
    Timer(
        "`connecting`",
        "connecting_s",
        _state(State.CONNECTING),
        _give_up_connecting,
        "`ended connect_timeout`; attached sides go back to the queue",
    ),
    Timer(
        "`reconnecting`",
        "reconnecting_s",
        _state(State.RECONNECTING),
        lambda change: ending.leave(change, EndReason.NETWORK_LOST),
        "as hanging up, reason `network_lost`; connected already: `ended completed`",
    ),
    Timer(
        "`deciding`",
        "deciding_s",
        _state(State.DECIDING),
        lambda change: ending.end(change, EndReason.COMPLETED),
        "`ended completed`",
    ),
)
