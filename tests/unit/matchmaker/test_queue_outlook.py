"""What the owner of a pool tells about waiting there, and what somebody who waits is told."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.policy import Gender, IntentPolicy
from loadtests.scan_index import ScanIndex
from matchmaker.bitsets import BitsetIndex
from matchmaker.outlook import (
    Band,
    MatchedLately,
    SideOutlook,
    Spread,
    decode_outlook,
    encode_outlook,
    outlook_of,
    position,
    standing,
    waiting_since,
)
from matchmaker.scoring import Rule, rules_of
from tests.unit.matchmaker.people import ticket_of

TIERS = rules_of(IntentPolicy()).tiers
NOW = 1_000_000


def side_of(count: int, rate: float = 0.5) -> SideOutlook:
    """People who came one a second, the last of them now, served at a rate."""
    index = BitsetIndex(TIERS)
    for number in range(count):
        index.add(ticket_of(f"user-{number}", queued_at=NOW - (count - 1 - number) * 1000), 0)
    marks = index.marks(Gender.OTHER)
    return SideOutlook(waiting=count, marks=marks, matched_per_s=rate, matched_wait_s=Spread())


def test_the_first_places_are_known_exactly_and_the_others_about() -> None:
    """A place makes a difference at the front; behind, a page's worth does not."""
    side = side_of(10_000)

    for ahead in (0, 1, 2, 5, 10, 20, 50, 100, 200):
        assert position(side, NOW - (9_999 - ahead) * 1000) == ahead
    for ahead in (300, 2_500, 7_000, 9_999):
        assert position(side, NOW - (9_999 - ahead) * 1000) == pytest.approx(ahead, rel=0.15, abs=30)
    assert position(side, NOW - 10_000_000) == 0
    assert len(side.marks) < 20


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from([0, 50])), max_size=60))
def test_marks_are_in_order_and_tell_the_truth(people: list[tuple[int, int]]) -> None:
    """Whatever the priorities: at a marked place stands somebody who counts as waiting since then."""
    index, model = BitsetIndex(TIERS), ScanIndex(TIERS)
    for number, (at, ahead_ms) in enumerate(people):
        for each in (index, model):
            each.add(ticket_of(f"user-{number}", queued_at=at, ahead_ms=ahead_ms), 0)
    truth = dict(model.marks(Gender.OTHER))
    marks = index.marks(Gender.OTHER)

    assert marks == sorted(marks)
    assert all(truth[ahead] == since for ahead, since in marks)
    assert bool(marks) == bool(people)


def test_an_empty_side_has_no_place_but_the_first() -> None:
    """Whoever comes first is told so, and nothing that nobody can know."""
    side = SideOutlook(waiting=0, marks=[], matched_per_s=0, matched_wait_s=Spread())

    assert standing(side, NOW).band is Band.NEXT
    assert standing(side, NOW).eta_median_s is None
    assert waiting_since(side, NOW) == Spread()


@pytest.mark.parametrize(
    ("ahead", "band"),
    [(0, Band.NEXT), (2, Band.NEXT), (5, Band.NEAR), (50, Band.MIDDLE), (200, Band.FAR), (9_999, Band.FAR)],
)
def test_a_band_says_about_how_many_are_before(ahead: int, band: Band) -> None:
    """Exactly at the front, where it makes a difference."""
    side = side_of(10_000)

    assert standing(side, NOW - (9_999 - ahead) * 1000).band is band


def test_the_estimate_follows_place_and_rate() -> None:
    """The hundredth at one in two seconds: about 200 s, and seldom more than 230."""
    side = side_of(100)
    last = standing(side, NOW)
    first = standing(side, NOW - 99_000)

    assert (last.eta_median_s, last.eta_p90_s) == (300, 300)
    assert (first.eta_median_s, first.eta_p90_s) == (2, 5)


def test_nobody_is_promised_a_time_where_nobody_is_served() -> None:
    """Half an hour without a match says nothing about the next one."""
    assert standing(side_of(5, rate=0), NOW).eta_p90_s is None


def test_how_long_those_who_wait_have_waited() -> None:
    """Ninety-nine in a hundred have waited less than the longest one."""
    spread = waiting_since(side_of(201), NOW)

    assert spread.p50 == pytest.approx(100, abs=60)
    assert spread.p90 == pytest.approx(180, abs=11)
    assert spread.p99 == pytest.approx(198, abs=3)


def test_the_rate_is_that_of_the_last_two_minutes() -> None:
    """An owner that has just begun divides by its own time, but never by next to nothing."""
    lately = MatchedLately(NOW)
    for second in range(20):
        lately.add(Gender.FEMALE, 1_000 * second, NOW + second * 1_000)

    assert lately.rate(Gender.FEMALE, NOW + 20_000) == pytest.approx(1.0)
    assert lately.rate(Gender.FEMALE, NOW + 120_000) == pytest.approx(20 / 120)
    assert lately.rate(Gender.FEMALE, NOW + 300_000) == 0
    assert lately.rate(Gender.MALE, NOW + 20_000) == 0


def test_the_rate_is_right_also_where_more_are_matched_than_remembered() -> None:
    """A hundred a second for a minute: the newest tell the rate."""
    lately = MatchedLately(NOW)
    for number in range(6_000):
        lately.add(Gender.FEMALE, number, NOW + number * 10)

    assert lately.rate(Gender.FEMALE, NOW + 60_000) == pytest.approx(100, rel=0.05)


def test_the_waits_of_those_matched_are_percentiles() -> None:
    """Seconds."""
    lately = MatchedLately(NOW)
    for number in range(100):
        lately.add(Gender.MALE, number * 1_000, NOW)

    assert lately.waits(Gender.MALE, NOW) == Spread(p50=50, p90=90, p99=99)
    assert lately.waits(Gender.FEMALE, NOW) == Spread()


def test_an_outlook_travels() -> None:
    """All of it survives."""
    outlook = outlook_of(
        {side: [(0, 5)] for side in Gender},
        dict.fromkeys(Gender, 1),
        MatchedLately(NOW),
        Counter({Rule.AGE: 3}),
        NOW,
    )

    assert decode_outlook(encode_outlook(outlook)) == outlook
