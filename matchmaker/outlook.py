"""The outlook of a pool: what its owner tells everybody else about waiting there.

The owner publishes one small value for the whole pool, not one for each ticket: how many wait by side, since when
those at certain places wait, how fast a side is served, and why people are turned down. From that and a ticket's own
place any node works out what its people see, in constant time. Pure; Unix ms and seconds.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import msgspec

from base.policy import Gender
from matchmaker.scoring import Rule

LATELY_MS = 120_000
_REMEMBERED = 2_048
_AT_LEAST_MS = 10_000
# What people are told jumps in steps, or it would change all the time.
_STEPS_S = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1_800, 3_600)
# A normal variable is below it nine times in ten.
_Z90 = 1.2816


class Band(StrEnum):
    """About how many have their turn before: the number itself would only invite to be watched."""

    NEXT = "next"
    """At most two."""
    NEAR = "near"
    """Less than twenty."""
    MIDDLE = "middle"
    """Less than two hundred."""
    FAR = "far"


_BANDS = ((3, Band.NEXT), (20, Band.NEAR), (200, Band.MIDDLE))

Mark = tuple[int, int]
"""How many have their turn before, and since when whoever stands there counts as waiting."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles, seconds."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0


class SideOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a pool; `marks` in the order of turns, `matched_per_s` over the last two minutes."""

    waiting: int
    marks: list[Mark]
    matched_per_s: float
    matched_wait_s: Spread


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """A pool at a moment; `rejections` counts a sample of what was looked at, since its owner took over."""

    at: int
    sides: dict[Gender, SideOutlook]
    rejections: dict[Rule, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody who waits is told: about where they stand, and how long it may take, if that is known."""

    band: Band
    eta_median_s: int | None
    eta_p90_s: int | None


class MatchedLately:
    """Matches of the last two minutes, by side."""

    __slots__ = ("_began_ms", "_waits")

    def __init__(self, now_ms: int) -> None:
        self._began_ms = now_ms
        self._waits: dict[Gender, deque[tuple[int, int]]] = {
            side: deque(maxlen=_REMEMBERED) for side in Gender
        }

    def add(self, side: Gender, waited_ms: int, now_ms: int) -> None:
        self._waits[side].append((now_ms, waited_ms))

    def rate(self, side: Gender, now_ms: int) -> float:
        """Matches a second."""
        waits = self._current(side, now_ms)
        if not waits:
            return 0.0
        since = waits[0][0] if len(waits) == _REMEMBERED else max(self._began_ms, now_ms - LATELY_MS)
        return len(waits) / max(now_ms - since, _AT_LEAST_MS) * 1000

    def waits(self, side: Gender, now_ms: int) -> Spread:
        """How long those waited."""
        waits = sorted(waited for _, waited in self._current(side, now_ms))
        if not waits:
            return Spread()
        return Spread(
            **{
                f"p{percent}": waits[min(len(waits) - 1, len(waits) * percent // 100)] / 1000
                for percent in (50, 90, 99)
            }
        )

    def _current(self, side: Gender, now_ms: int) -> deque[tuple[int, int]]:
        waits = self._waits[side]
        while waits and waits[0][0] < now_ms - LATELY_MS:
            waits.popleft()
        return waits


def outlook_of(
    marks: Mapping[Gender, Sequence[Mark]],
    waiting: Mapping[Gender, int],
    lately: MatchedLately,
    rejections: Counter[Rule],
    now_ms: int,
) -> Outlook:
    """What the owner of a pool publishes."""
    return Outlook(
        at=now_ms,
        sides={
            side: SideOutlook(
                waiting=waiting[side],
                marks=list(marks[side]),
                matched_per_s=lately.rate(side, now_ms),
                matched_wait_s=lately.waits(side, now_ms),
            )
            for side in Gender
        },
        rejections=dict(rejections),
    )


def position(side: SideOutlook, since_ms: int) -> int:
    """About how many have their turn before somebody who counts as waiting since then."""
    number = bisect_right(side.marks, since_ms, key=_since)
    if number == 0:
        return 0
    ahead, from_ms = side.marks[number - 1]
    if number == len(side.marks):
        return max(ahead, side.waiting - 1) if since_ms > from_ms else ahead
    next_ahead, to_ms = side.marks[number]
    return ahead + (next_ahead - ahead) * (since_ms - from_ms) // max(1, to_ms - from_ms)


def standing(side: SideOutlook, since_ms: int) -> Standing:
    """What somebody who counts as waiting since then is told.

    A side that is served at a steady rate reaches the k-th after a time with the gamma distribution of shape k; its
    quantiles by Wilson and Hilferty, "The distribution of chi-square", PNAS 17 (1931).
    """
    ahead = position(side, since_ms)
    if side.matched_per_s <= 0:
        return Standing(_band(ahead), None, None)
    turn = ahead + 1
    median_s, p90_s = (
        turn / side.matched_per_s * (1 - 1 / (9 * turn) + z / (3 * sqrt(turn))) ** 3 for z in (0.0, _Z90)
    )
    return Standing(_band(ahead), _step(median_s), _step(p90_s))


def waiting_since(side: SideOutlook, now_ms: int) -> Spread:
    """How long those who wait now have waited; priority counts as waiting."""
    if not side.waiting or not side.marks:
        return Spread()

    def at(percent: int) -> float:
        # The longest-waiting stand first: nine in ten wait less than whoever has a tenth of them before.
        place = side.waiting * (100 - percent) // 100
        number = bisect_right(side.marks, place, key=_ahead)
        _, since = side.marks[max(0, number - 1)]
        return max(0, now_ms - since) / 1000

    return Spread(p50=at(50), p90=at(90), p99=at(99))


def _ahead(mark: Mark) -> int:
    return mark[0]


def _since(mark: Mark) -> int:
    return mark[1]


def _band(ahead: int) -> Band:
    return next((band for below, band in _BANDS if ahead < below), Band.FAR)


def _step(seconds: float) -> int:
    return next((step for step in _STEPS_S if seconds <= step), _STEPS_S[-1])


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Outlook)


def encode_outlook(outlook: Outlook) -> bytes:
    return _encoder.encode(outlook)


def decode_outlook(data: bytes) -> Outlook:
    """Raises: msgspec.MsgspecError for what no known release publishes."""
    return _decoder.decode(data)
