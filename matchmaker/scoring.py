"""Who fits whom, and how well.

Decides mutual compatibility of two tickets, each at its own tier of widening, and the score by which one of
several compatible partners is chosen. Blocks, exclusions and sides never relax; age, region and language do.
"""

from dataclasses import dataclass

from base.policy import IntentPolicy
from matchmaker.ticket import Ticket

# Points. A year of age apart costs one, so the others read as "worth so many years".
_SHARED_LANGUAGE = 12.0
_SAME_REGION = 8.0
_VERIFIED = 2.0
_AGE_APART_CAP = 30
# Ten seconds of waiting weigh as much as a shared language: nobody is passed over for long.
_POINTS_PER_WAITED_S = 1.2


@dataclass(frozen=True, slots=True)
class Relaxation:
    """What one tier of widening gives up of a ticket's wishes."""

    age_years: int
    any_region: bool
    any_language: bool


def relaxations(policy: IntentPolicy) -> tuple[Relaxation, ...]:
    """One entry for each tier; region goes at the last but one, language at the last, neither at the first."""
    tiers = len(policy.widen_after_s)
    years = policy.widen_age_years
    return tuple(
        Relaxation(
            age_years=years[min(tier, len(years) - 1)] if years else 0,
            any_region=tier >= max(1, tiers - 2),
            any_language=tier >= max(1, tiers - 1),
        )
        for tier in range(tiers)
    ) or (Relaxation(age_years=0, any_region=False, any_language=False),)


def tier_after(policy: IntentPolicy, waited_ms: int) -> int:
    """The tier of a ticket that has waited for so long."""
    reached = sum(1 for after_s in policy.widen_after_s if after_s * 1000 <= waited_ms)
    return max(0, reached - 1)


def accepts(ticket: Ticket, other: Ticket, relaxation: Relaxation) -> bool:
    """Whether `other` is what `ticket` wants, relaxed so far; who names no languages is taken to understand."""
    wants = ticket.wants
    if other.side not in wants.sides or other.user_id in ticket.exclusions:
        return False
    if not wants.age_min - relaxation.age_years <= other.age <= wants.age_max + relaxation.age_years:
        return False
    if wants.regions and not relaxation.any_region and other.region not in wants.regions:
        return False
    return (
        relaxation.any_language
        or not wants.languages
        or not other.languages
        or not wants.languages.isdisjoint(other.languages)
    )


def compatible(a: Ticket, a_relaxed: Relaxation, b: Ticket, b_relaxed: Relaxation) -> bool:
    """Whether each of two different people is what the other wants."""
    return a.user_id != b.user_id and accepts(a, b, a_relaxed) and accepts(b, a, b_relaxed)


def score(ticket: Ticket, other: Ticket, now_ms: int) -> float:
    """How good a partner `other` is for `ticket`, in points; its waiting counts for it."""
    points = -float(min(abs(ticket.age - other.age), _AGE_APART_CAP))
    if not ticket.languages.isdisjoint(other.languages):
        points += _SHARED_LANGUAGE
    if ticket.region is not None and ticket.region == other.region:
        points += _SAME_REGION
    if other.verified:
        points += _VERIFIED
    return points + max(0, now_ms - other.queued_at) / 1000 * _POINTS_PER_WAITED_S
