"""Whether the store lost something, as its parts give it away. Times are milliseconds of the monotonic clock."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.continuity import LONGEST_MS, RESTORING_MS, Continuity, Mark

MARK = Mark("0", "epoch", "history")


def test_a_store_that_is_met_for_the_first_time_has_lost_nothing() -> None:
    """A node that starts has nothing to put back, and a fresh deployment serves at once."""
    continuity = Continuity()

    assert not continuity.heard([MARK], 0)
    assert not continuity.heard([MARK], 1_000)
    assert continuity.restoring_ms(1_000) == 0


@pytest.mark.parametrize(
    "now_says",
    [replace(MARK, epoch="another"), replace(MARK, history="another")],
    ids=["emptied", "restarted"],
)
def test_another_epoch_or_another_history_is_a_loss_that_is_told_once(now_says: Mark) -> None:
    """The data is gone, or comes from a file or a replica that may not have had the last of it."""
    continuity = Continuity()
    continuity.heard([MARK], 0)

    assert continuity.heard([now_says], 1_000)
    assert not continuity.heard([now_says], 2_000)


def test_after_a_loss_nothing_is_granted_for_two_seconds_and_until_all_is_put_back() -> None:
    """Others may need those seconds even where we are done at once."""
    continuity = Continuity()
    continuity.heard([MARK], 0)
    continuity.heard([replace(MARK, epoch="b")], 1_000)
    before = continuity.restoring_ms(1_000)
    late = continuity.restoring_ms(1_000 + RESTORING_MS)
    continuity.put_back()

    assert before == RESTORING_MS
    assert late > 0
    assert continuity.restoring_ms(1_000 + RESTORING_MS - 1) == 1
    assert continuity.restoring_ms(1_000 + RESTORING_MS) == 0


def test_a_node_that_cannot_put_everything_back_serves_on_in_the_end() -> None:
    """What is left is repaired by the checks of tickets and calls."""
    continuity = Continuity()
    continuity.heard([MARK], 0)
    continuity.heard([replace(MARK, epoch="b")], 1_000)

    assert continuity.restoring_ms(1_000 + LONGEST_MS - 1) > 0
    assert continuity.restoring_ms(1_000 + LONGEST_MS) == 0


def test_one_part_of_many_is_enough() -> None:
    """On a cluster one primary may fail while all others are well."""
    continuity = Continuity()
    parts = [replace(MARK, part=str(number)) for number in range(3)]
    continuity.heard(parts, 0)

    assert continuity.heard([parts[0], replace(parts[1], history="promoted"), parts[2]], 1_000)


def test_a_part_that_does_not_answer_is_compared_when_it_does() -> None:
    """Silence is no loss; what comes after it may be."""
    continuity = Continuity()
    other = replace(MARK, part="1")
    continuity.heard([MARK, other], 0)

    assert not continuity.heard([MARK], 1_000)
    assert not continuity.heard([MARK, other], 2_000)
    assert not continuity.heard([MARK], 3_000)
    assert continuity.heard([MARK, replace(other, history="promoted")], 4_000)


def test_a_node_that_starts_while_the_others_put_things_back_holds_back_with_them() -> None:
    """What it finds in the store is not all that there is."""
    continuity = Continuity()
    lost = continuity.heard([replace(MARK, restoring_ms=1_200)], 5_000)

    assert not lost
    assert continuity.restoring_ms(5_000) == 1_200
    assert continuity.restoring_ms(6_200) == 0


def test_a_node_that_knows_the_store_is_not_asked_by_others() -> None:
    """It has noticed by itself, or there was nothing to notice where it looks."""
    continuity = Continuity()
    continuity.heard([MARK], 0)
    continuity.heard([replace(MARK, restoring_ms=1_200)], 1_000)

    assert continuity.restoring_ms(1_000) == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from("mn")), max_size=20))
def test_a_loss_is_told_exactly_when_a_known_part_says_another_thing(
    seen: list[tuple[str, str, str]],
) -> None:
    """Whatever is seen in whatever order."""
    continuity = Continuity()
    known: dict[str, tuple[str, str]] = {}
    for now, (part, epoch, history) in enumerate(seen):
        expected = part in known and known[part] != (epoch, history)
        known[part] = (epoch, history)
        mark = Mark(part, epoch, history)

        assert continuity.differs([mark]) is expected
        assert continuity.heard([mark], now) is expected
        assert not continuity.differs([mark])
