"""Who fits whom, and how well.

Decides mutual compatibility of two tickets, each at its own tier of widening, the rule by which two do not fit, and
the score by which one of several compatible partners is chosen. Blocks, exclusions and sides never relax; age,
region and language do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from base.policy import IntentPolicy
from matchmaker.ages import AGES, within
from matchmaker.ticket import MAX_AGE, MIN_AGE, Ticket

POINT = 10_000
"""Scores are whole ten-thousandths of a point, so that they are the same in whatever order they are summed."""

# In points; a year of age apart costs one, so the others read as "worth so many years".
_SHARED_LANGUAGE = 12 * POINT
_SAME_REGION = 8 * POINT
_VERIFIED = 2 * POINT
_AGE_APART_CAP = 30
# A partner of today's: taken where nobody else comes near.
MET_BEFORE = -30 * POINT
# Ten seconds of waiting weigh as much as a shared language: nobody is passed over for long.
POINTS_PER_WAITED_MS = 12
# Each time that somebody younger in the queue was preferred; at most so often, as waiting counts anyway.
_POINTS_PER_PASS = 3 * POINT
_PASSES_COUNTED = 10
# Whoever is known to leave soon is served while they can be.
LEAVING = 15 * POINT
LEAVES_SOON_MS = 10_000
# From so far apart on a voice call feels distant, and being near counts for nothing.
_FAR_MS = 200
_NEAR_MS = 60


class Rule(StrEnum):
    """Why two tickets are not paired; in the order in which the rules are looked at."""

    SIDE = "side"
    EXCLUDED = "excluded"
    """Blocked, or met lately."""
    AGE = "age"
    REGION = "region"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True)
class Relaxation:
    """What one tier of widening gives up of a ticket's wishes; `near` lists what else a wanted region stands for."""

    age_years: int
    any_region: bool
    any_language: bool
    near: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """What an intent's policy says about pairing, worked out once."""

    tiers: tuple[Relaxation, ...]
    max_wait_ms: int
    round_trips: Mapping[tuple[str, str], int]
    near: Mapping[str, frozenset[str]]
    """For each region those so near that nobody hears the distance, itself included; empty without a table."""


def rules_of(policy: IntentPolicy) -> Rules:
    """The rules of a policy."""
    round_trips = _round_trips(policy)
    return Rules(
        tiers=_relaxations(policy, round_trips),
        max_wait_ms=round(policy.max_wait_s * 1000),
        round_trips=round_trips,
        near=_within(round_trips, _NEAR_MS),
    )


def _relaxations(policy: IntentPolicy, round_trips: Mapping[tuple[str, str], int]) -> tuple[Relaxation, ...]:
    """One entry for each tier; region goes at the last but one, language at the last, neither at the first."""
    tiers = max(1, len(policy.widen_after_s))
    years, reach = policy.widen_age_years or (0,), policy.widen_round_trip_ms or (0,)
    return tuple(
        Relaxation(
            age_years=years[min(tier, len(years) - 1)],
            any_region=tier >= max(1, tiers - 2),
            any_language=tier >= max(1, tiers - 1),
            near=_within(round_trips, reach[min(tier, len(reach) - 1)])
            if reach[min(tier, len(reach) - 1)]
            else {},
        )
        for tier in range(tiers)
    )


def _round_trips(policy: IntentPolicy) -> dict[tuple[str, str], int]:
    """The policy's table in both directions; of two that contradict each other the lower counts."""
    found: dict[tuple[str, str], int] = {}
    for one, row in policy.round_trip_ms.items():
        for other, apart_ms in row.items():
            for pair in ((one, other), (other, one)):
                found[pair] = min(apart_ms, found.get(pair, apart_ms))
    return found | {(region, region): 0 for pair in found for region in pair}


def _within(round_trips: Mapping[tuple[str, str], int], reach_ms: int) -> dict[str, frozenset[str]]:
    regions = sorted({one for one, _ in round_trips})
    return {
        one: frozenset(other for other in regions if round_trips.get((one, other), reach_ms + 1) <= reach_ms)
        for one in regions
    }


def tier_after(policy: IntentPolicy, waited_ms: int) -> int:
    """The tier of a ticket that has waited for so long."""
    reached = sum(1 for after_s in policy.widen_after_s if after_s * 1000 <= waited_ms)
    return max(0, reached - 1)


# --- what a ticket accepts at a tier; `accepts` and every index ask here -----------------------------------------


def wanted_ages(ticket: Ticket, relaxation: Relaxation) -> tuple[int, int]:
    """The youngest and the oldest that will do; the bounds of the scale are open ends."""
    youngest = ticket.wants.age_min - relaxation.age_years
    oldest = ticket.wants.age_max + relaxation.age_years
    return (0 if youngest <= MIN_AGE else youngest), (AGES - 1 if oldest >= MAX_AGE else oldest)


def wanted_regions(ticket: Ticket, relaxation: Relaxation) -> frozenset[str] | None:
    """The regions that will do; `None` for any, known or not."""
    regions = ticket.wants.regions
    if not regions or relaxation.any_region:
        return None
    if not relaxation.near:
        return regions
    return regions.union(*(relaxation.near.get(region, ()) for region in regions))


def wanted_languages(ticket: Ticket, relaxation: Relaxation) -> frozenset[str] | None:
    """The languages of which one will do; `None` for any."""
    return None if relaxation.any_language or not ticket.wants.languages else ticket.wants.languages


def rejects(ticket: Ticket, other: Ticket, relaxation: Relaxation) -> Rule | None:
    """The rule by which `other` is not what `ticket` wants, relaxed so far; `None` if it is.

    Who names no languages is taken to understand.
    """
    if other.side not in ticket.wants.sides:
        return Rule.SIDE
    if other.user_id in ticket.exclusions or other.user_id == ticket.user_id:
        return Rule.EXCLUDED
    youngest, oldest = wanted_ages(ticket, relaxation)
    if not youngest <= other.age <= oldest:
        return Rule.AGE
    regions = wanted_regions(ticket, relaxation)
    if regions is not None and other.region not in regions:
        return Rule.REGION
    languages = wanted_languages(ticket, relaxation)
    if languages is not None and other.languages and languages.isdisjoint(other.languages):
        return Rule.LANGUAGE
    return None


def compatible(a: Ticket, a_relaxed: Relaxation, b: Ticket, b_relaxed: Relaxation) -> bool:
    """Whether each of two different people is what the other wants."""
    return rejects(a, b, a_relaxed) is None and rejects(b, a, b_relaxed) is None


# --- how well ----------------------------------------------------------------------------------------------------


class Traits(Protocol):
    """What counts of somebody beside their age."""

    @property
    def languages(self) -> frozenset[str]: ...
    @property
    def region(self) -> str | None: ...
    @property
    def verified(self) -> bool: ...


def age_points(one: int, other: int) -> int:
    """What two ages are for each other."""
    return -min(abs(one - other), _AGE_APART_CAP) * POINT


def kind_points(one: Traits, other: Traits, rules: Rules) -> int:
    """How good a partner somebody like `other` is for somebody like `one`, whatever their ages."""
    points = 0
    if not one.languages.isdisjoint(other.languages):
        points += _SHARED_LANGUAGE
    region = one.region
    if region is not None:
        theirs = other.region
        if region == theirs:
            points += _SAME_REGION
        elif theirs is not None and rules.round_trips:
            distance = min(_FAR_MS, rules.round_trips.get((region, theirs), _FAR_MS))
            points += _SAME_REGION * (_FAR_MS - distance) // _FAR_MS
    if other.verified:
        points += _VERIFIED
    return points


def pass_points(passed: int) -> int:
    """What having been passed over so often is worth."""
    return min(passed, _PASSES_COUNTED) * _POINTS_PER_PASS


def fit(ticket: Ticket, other: Ticket, rules: Rules) -> int:
    """How good a partner `other` is for `ticket`, however long either has waited; in ten-thousandths of a point."""
    points = age_points(within(ticket.age), within(other.age)) + kind_points(ticket, other, rules)
    if other.user_id in ticket.met or ticket.user_id in other.met:
        points += MET_BEFORE
    return points


def urgency(other: Ticket, passed: int, now_ms: int) -> int:
    """What speaks for serving a waiting ticket now: its waiting, having been passed over, leaving soon.

    In ten-thousandths of a point.
    """
    waited_ms = now_ms - other.queued_at + other.ahead_ms
    points = waited_ms * POINTS_PER_WAITED_MS + pass_points(passed)
    if other.leaves_at and other.leaves_at - now_ms <= LEAVES_SOON_MS:
        points += LEAVING
    return points
