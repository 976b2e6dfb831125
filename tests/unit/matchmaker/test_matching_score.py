"""Who fits whom, at which tier, and how well."""

import pytest

from base.ids import UserId
from base.policy import Gender, IntentPolicy
from matchmaker.scoring import Relaxation, compatible, relaxations, score, tier_after
from matchmaker.ticket import Ticket
from tests.unit.matchmaker.people import ticket_of, wanting

TIERS = relaxations(IntentPolicy())
STRICT, LAST = TIERS[0], TIERS[-1]


def fit(a: Ticket, b: Ticket, relaxed: Relaxation = STRICT) -> bool:
    """Whether they fit, with b's wishes strict; asserts that the question is symmetric."""
    answer = compatible(a, relaxed, b, STRICT)
    assert compatible(b, STRICT, a, relaxed) is answer
    return answer


def test_tiers_give_up_age_first_then_region_then_language() -> None:
    """With the default policy: 0, 3, 6, 100 years; regions from 20 s on, languages from 40 s on."""
    assert [tier.age_years for tier in TIERS] == [0, 3, 6, 100]
    assert [tier.any_region for tier in TIERS] == [False, False, True, True]
    assert [tier.any_language for tier in TIERS] == [False, False, False, True]


@pytest.mark.parametrize("steps", [(), (0.0,)])
def test_a_policy_without_widening_relaxes_nothing(steps: tuple[float, ...]) -> None:
    """One tier is all there is, and it is strict."""
    assert relaxations(IntentPolicy(widen_after_s=steps)) == (
        Relaxation(0, any_region=False, any_language=False),
    )


@pytest.mark.parametrize(
    ("waited_ms", "tier"),
    [(0, 0), (9_999, 0), (10_000, 1), (20_000, 2), (39_999, 2), (40_000, 3), (10**9, 3)],
)
def test_a_ticket_reaches_a_tier_at_its_time(waited_ms: int, tier: int) -> None:
    """A tier begins exactly when its seconds have been waited."""
    assert tier_after(IntentPolicy(), waited_ms) == tier


def test_everyone_fits_where_nobody_asks_for_anything() -> None:
    """Two plain tickets are compatible."""
    assert fit(ticket_of("ann"), ticket_of("bob"))


def test_nobody_fits_themselves() -> None:
    """Two tickets of one user, from two devices, never make a pair."""
    assert not fit(ticket_of("ann"), ticket_of("ann", ticket_id="another"), LAST)


def test_exclusions_never_relax() -> None:
    """One side's exclusion is enough, at any tier."""
    ann = ticket_of("ann", exclusions=frozenset({UserId("bob")}))

    assert not fit(ann, ticket_of("bob"), LAST)
    assert fit(ann, ticket_of("eve"))


def test_sides_never_relax() -> None:
    """Who asks for men meets men, however long the wait."""
    ann = ticket_of("ann", side=Gender.FEMALE, wants=wanting(sides=frozenset({Gender.MALE})))

    assert not fit(ann, ticket_of("eve", side=Gender.FEMALE), LAST)
    assert fit(ann, ticket_of("bob", side=Gender.MALE))


def test_the_age_range_grows_by_tier_and_only_the_own_one() -> None:
    """Ann takes 27 at the first tier; Eve, whose own range is strict, is not taken by Ann's patience."""
    ann = ticket_of("ann", wants=wanting(age_min=30, age_max=40))

    assert fit(ann, ticket_of("bob", age=30))
    assert not fit(ann, ticket_of("bob", age=29))
    assert fit(ann, ticket_of("bob", age=27), TIERS[1])
    assert not fit(ann, ticket_of("bob", age=26), TIERS[1])
    assert not fit(ann, ticket_of("eve", age=30, wants=wanting(age_min=31)), LAST)


def test_a_shared_language_is_needed_until_the_last_tier() -> None:
    """Who names no language is taken to understand."""
    ann = ticket_of("ann", wants=wanting(languages=frozenset({"de", "en"})))

    assert fit(ann, ticket_of("bob", languages=frozenset({"en", "fr"})))
    assert fit(ann, ticket_of("bob"))
    assert not fit(ann, ticket_of("bob", languages=frozenset({"fr"})), TIERS[2])
    assert fit(ann, ticket_of("bob", languages=frozenset({"fr"})), LAST)


def test_a_wanted_region_is_needed_until_the_last_tier_but_one() -> None:
    """An unknown region is not the wanted one."""
    ann = ticket_of("ann", wants=wanting(regions=frozenset({"eu"})))

    assert fit(ann, ticket_of("bob", region="eu"))
    assert not fit(ann, ticket_of("bob", region="us"), TIERS[1])
    assert not fit(ann, ticket_of("bob"), TIERS[1])
    assert fit(ann, ticket_of("bob", region="us"), TIERS[2])


def test_what_two_have_in_common_scores() -> None:
    """Near ages, a language, a region and a verified partner each count; so does the partner's waiting."""
    ann = ticket_of("ann", age=30, languages=frozenset({"en"}), region="eu")
    plain = score(ann, ticket_of("bob", age=34), now_ms=0)

    assert score(ann, ticket_of("bob", age=31), now_ms=0) > plain
    assert score(ann, ticket_of("bob", age=34, languages=frozenset({"en"})), now_ms=0) > plain
    assert score(ann, ticket_of("bob", age=34, region="eu"), now_ms=0) > plain
    assert score(ann, ticket_of("bob", age=34, verified=True), now_ms=0) > plain
    assert score(ann, ticket_of("bob", age=34), now_ms=5_000) > plain
