"""The review of matches: what their pool's owner does about those that are not live yet.

Decides, from a match's record, its call and the time, the one next step. Refuses to take it.
"""

from dataclasses import dataclass

from matchmaker.matches import MatchRecord, Progress, Seat
from matchmaker.ports import CallOutcome, CallStage

ANNOUNCE_AGAIN_MS = 500
FINISH_MS = 2_000
GIVE_UP_MS = 12_000
"""Hubs create no call later than 10 s after the claim."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now."""


@dataclass(frozen=True, slots=True)
class AnnounceAgain:
    """A side has not acknowledged the match."""


@dataclass(frozen=True, slots=True)
class FinishEntering:
    """The call exists, but these sides' nodes have not finished their steps into it."""

    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """The call is live: the match has done its work."""

    unentered: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """The call has ended, or never came: these sides are to be resolved, some of them back to the queue."""

    seats: tuple[Seat, ...]
    returns: frozenset[Seat]
    expired: bool
    declined: frozenset[Seat] = frozenset()
    """Whose pause is still to be counted, where the hub that heard of it has not come so far."""


Step = Wait | AnnounceAgain | FinishEntering | Settle | Release


def next_step(record: MatchRecord, outcome: CallOutcome | None, now_ms: int) -> Step:
    """What the owner does about a match at `now_ms`; `outcome` is needed from `FINISH_MS` on."""
    age_ms = now_ms - record.match.claimed_at_ms
    unentered = record.seats_at(Progress.ANNOUNCED)
    again = AnnounceAgain() if unentered and age_ms >= ANNOUNCE_AGAIN_MS else Wait()
    if age_ms < FINISH_MS or outcome is None:
        return again
    unresolved = (*unentered, *record.seats_at(Progress.ACKNOWLEDGED))
    match outcome.stage:
        case CallStage.LIVE:
            return Settle(unentered)
        case CallStage.ENDED:
            return Release(unresolved, outcome.returns, expired=False, declined=outcome.declined)
        case CallStage.SETTING_UP:
            return FinishEntering(unentered) if unentered else Wait()
        case CallStage.ABSENT:
            if age_ms < GIVE_UP_MS:
                return again
            return Release(unresolved, frozenset(("a", "b")), expired=True)
