"""Who comes to a load test, and when: without locust, whose patches must not reach the tests."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from loadtests.crowd.arrivals import NoTokenLeft, Tokens, genders, people_at


@pytest.mark.parametrize(("men_per_woman", "women"), [(1.0, 50), (3.0, 25), (0.25, 80), (2.0, 34)])
def test_sides_come_in_their_proportion(men_per_woman: float, women: int) -> None:
    """Over a hundred people."""
    counted = Counter(islice(genders(men_per_woman), 100))

    assert counted["female"] == women


def test_nobody_waits_long_for_the_first_of_the_rare_side() -> None:
    """Proportions hold from the first few on, not on average only: a small crowd has both sides."""
    assert list(islice(genders(3.0), 8)) == ["female", "male", "male", "male"] * 2


def test_an_evening_fills_up_has_its_rush_and_empties() -> None:
    """As shares of the time; at the end there is nobody to say how many."""
    assert [people_at(moment, 60) for moment in (0.0, 0.2, 0.5, 0.9, 1.0)] == [18, 36, 60, 30, None]
    assert people_at(0.0, 1) == 1


def test_workers_share_tokens_without_sharing_any(tmp_path: Path) -> None:
    """Each token is somebody's account, who cannot be in two places."""
    path = tmp_path / "tokens"
    path.write_text("one\ntwo\nthree\n")
    first, second = Tokens(path, 0, 2), Tokens(path, 1, 2)

    assert [first.take(), first.take(), second.take()] == ["one", "three", "two"]
    with pytest.raises(NoTokenLeft):
        second.take()
