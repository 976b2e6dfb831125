"""Who fits whom, at which tier, and how well."""

import pytest

from base.ids import UserId
from base.policy import Gender, IntentPolicy
from matchmaker.scoring import (
    POINT,
    Relaxation,
    Rule,
    compatible,
    fit,
    rejects,
    rules_of,
    tier_after,
    urgency,
)
from matchmaker.ticket import Ticket
from tests.unit.matchmaker.people import ticket_of, wanting

RULES = rules_of(IntentPolicy())
TIERS = RULES.tiers
STRICT, LAST = TIERS[0], TIERS[-1]


def both_fit(a: Ticket, b: Ticket, relaxed: Relaxation = STRICT) -> bool:
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
    assert rules_of(IntentPolicy(widen_after_s=steps)).tiers == (
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
    assert both_fit(ticket_of("ann"), ticket_of("bob"))


def test_nobody_fits_themselves() -> None:
    """Two tickets of one user, from two devices, never make a pair."""
    assert not both_fit(ticket_of("ann"), ticket_of("ann", ticket_id="another"), LAST)


def test_exclusions_never_relax() -> None:
    """One side's exclusion is enough, at any tier."""
    ann = ticket_of("ann", exclusions=frozenset({UserId("bob")}))

    assert not both_fit(ann, ticket_of("bob"), LAST)
    assert both_fit(ann, ticket_of("eve"))


def test_sides_never_relax() -> None:
    """Who asks for men meets men, however long the wait."""
    ann = ticket_of("ann", side=Gender.FEMALE, wants=wanting(sides=frozenset({Gender.MALE})))

    assert not both_fit(ann, ticket_of("eve", side=Gender.FEMALE), LAST)
    assert both_fit(ann, ticket_of("bob", side=Gender.MALE))


def test_the_age_range_grows_by_tier_and_only_the_own_one() -> None:
    """Ann takes 27 at the first tier; Eve, whose own range is strict, is not taken by Ann's patience."""
    ann = ticket_of("ann", wants=wanting(age_min=30, age_max=40))

    assert both_fit(ann, ticket_of("bob", age=30))
    assert not both_fit(ann, ticket_of("bob", age=29))
    assert both_fit(ann, ticket_of("bob", age=27), TIERS[1])
    assert not both_fit(ann, ticket_of("bob", age=26), TIERS[1])
    assert not both_fit(ann, ticket_of("eve", age=30, wants=wanting(age_min=31)), LAST)


def test_a_shared_language_is_needed_until_the_last_tier() -> None:
    """Who names no language is taken to understand."""
    ann = ticket_of("ann", wants=wanting(languages=frozenset({"de", "en"})))

    assert both_fit(ann, ticket_of("bob", languages=frozenset({"en", "fr"})))
    assert both_fit(ann, ticket_of("bob"))
    assert not both_fit(ann, ticket_of("bob", languages=frozenset({"fr"})), TIERS[2])
    assert both_fit(ann, ticket_of("bob", languages=frozenset({"fr"})), LAST)


def test_a_wanted_region_is_needed_until_the_last_tier_but_one() -> None:
    """An unknown region is not the wanted one."""
    ann = ticket_of("ann", wants=wanting(regions=frozenset({"eu"})))

    assert both_fit(ann, ticket_of("bob", region="eu"))
    assert not both_fit(ann, ticket_of("bob", region="us"), TIERS[1])
    assert not both_fit(ann, ticket_of("bob"), TIERS[1])
    assert both_fit(ann, ticket_of("bob", region="us"), TIERS[2])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"side": Gender.FEMALE}, Rule.SIDE),
        ({"user_id": UserId("eve")}, Rule.EXCLUDED),
        ({"age": 51}, Rule.AGE),
        ({"region": "us"}, Rule.REGION),
        ({"languages": frozenset({"fr"})}, Rule.LANGUAGE),
        ({}, None),
    ],
)
def test_a_rejection_names_its_rule(changes: dict[str, object], rule: Rule | None) -> None:
    """What operators see of why people do not meet."""
    wants = wanting(
        sides=frozenset({Gender.MALE}), age_max=50, languages=frozenset({"de"}), regions=frozenset({"eu"})
    )
    ann = ticket_of("ann", wants=wants, exclusions=frozenset({UserId("eve")}))
    plain = {"side": Gender.MALE, "region": "eu", "languages": frozenset({"de"})}

    assert rejects(ann, ticket_of("bob", **{**plain, **changes}), STRICT) is rule


def test_the_ends_of_the_scale_are_open() -> None:
    """Who asks for 18 to 120 asks for no age, and says nothing about somebody whose age nobody knows."""
    assert both_fit(ticket_of("ann"), ticket_of("bob", age=0))
    assert both_fit(ticket_of("ann"), ticket_of("bob", age=127))


DISTANCES = IntentPolicy(
    round_trip_ms={"eu": {"us": 90, "uk": 20}, "us": {"asia": 180}}, widen_round_trip_ms=(0, 100)
)


def test_near_regions_come_before_far_ones_as_waiting_goes_on() -> None:
    """At first only the wanted one, then those within the tier's round trip, in the end any."""
    ann = ticket_of("ann", wants=wanting(regions=frozenset({"eu"})))
    tiers = rules_of(DISTANCES).tiers

    def taken(region: str | None, tier: int) -> bool:
        return rejects(ann, ticket_of("bob", region=region), tiers[tier]) is None

    assert [taken("uk", tier) for tier in range(4)] == [False, True, True, True]
    assert [taken("us", tier) for tier in range(4)] == [False, True, True, True]
    assert [taken("asia", tier) for tier in range(4)] == [False, False, True, True]
    assert [taken(None, tier) for tier in range(4)] == [False, False, True, True]


def test_the_table_of_distances_counts_in_both_directions() -> None:
    """Nearer is better, and what is not listed is far."""
    rules = rules_of(DISTANCES)
    ann = ticket_of("ann", region="us")
    points = [fit(ann, ticket_of("bob", region=region), rules) for region in ("us", "eu", "asia", "uk", None)]

    assert points == sorted(points, reverse=True)
    assert points[0] > points[1] > points[2] > points[3] == points[4]
    assert rules.near["eu"] == {"eu", "uk"}
    assert rules_of(IntentPolicy()).near == {}


def test_what_two_have_in_common_scores() -> None:
    """Near ages, a language, a region and a verified partner each count."""
    ann = ticket_of("ann", age=30, languages=frozenset({"en"}), region="eu")
    plain = fit(ann, ticket_of("bob", age=34), RULES)

    assert fit(ann, ticket_of("bob", age=31), RULES) > plain
    assert fit(ann, ticket_of("bob", age=34, languages=frozenset({"en"})), RULES) > plain
    assert fit(ann, ticket_of("bob", age=34, region="eu"), RULES) > plain
    assert fit(ann, ticket_of("bob", age=34, verified=True), RULES) > plain


def test_a_partner_of_late_comes_last() -> None:
    """Whichever of the two remembers it."""
    ann, bob = ticket_of("ann"), ticket_of("bob", languages=frozenset({"en"}))
    again = ticket_of("ann", met=frozenset({UserId("bob")}))

    assert fit(again, bob, RULES) == fit(bob, again, RULES) < fit(ann, bob, RULES)
    assert fit(again, bob, RULES) < fit(again, ticket_of("old", age=50), RULES)


def test_waiting_speaks_for_somebody_and_so_do_priority_and_being_passed_over() -> None:
    """Priority counts as so many seconds of waiting, no more."""
    bob = ticket_of("bob", queued_at=0)

    assert urgency(bob, 0, 10_000) == 12 * POINT
    assert urgency(bob, 1, 10_000) > urgency(bob, 0, 10_000)
    assert urgency(bob, 100, 10_000) == urgency(bob, 10, 10_000)
    assert urgency(ticket_of("vip", ahead_ms=5_000), 0, 5_000) == urgency(bob, 0, 10_000)


def test_whoever_is_known_to_leave_soon_is_served_while_they_can_be() -> None:
    """Not before it is soon."""
    leaving = ticket_of("bob", leaves_at=60_000)

    assert urgency(leaving, 0, 49_999) == urgency(ticket_of("bob"), 0, 49_999)
    assert urgency(leaving, 0, 50_000) > urgency(ticket_of("bob"), 0, 50_000) + 10 * POINT
