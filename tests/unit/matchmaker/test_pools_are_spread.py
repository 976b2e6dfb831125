"""Which of several matchmakers serves which pool: evenly, without asking, and with few moves."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from matchmaker.spread import spread

names = st.sets(st.text("abcdefgh", min_size=1, max_size=4), max_size=12)


@given(pools=names, members=names.filter(bool))
def test_every_pool_has_a_member_and_nobody_has_two_more_than_needed(
    pools: set[str], members: set[str]
) -> None:
    """Nobody serves more than the even share, rounded up."""
    found = spread(pools, members)

    assert set(found) == pools
    assert set(found.values()) <= members
    assert all(load <= -(-len(pools) // len(members)) for load in Counter(found.values()).values())


@given(pools=names, members=names)
def test_everybody_comes_to_the_same_answer(pools: set[str], members: set[str]) -> None:
    """Whatever the order in which they know of each other."""
    assert spread(sorted(pools), sorted(members)) == spread(
        sorted(pools, reverse=True), sorted(members, reverse=True)
    )


def test_nobody_serves_anything_where_nobody_is() -> None:
    """A matchmaker that knows of nobody, not even itself, has lost the roster."""
    assert spread({"friends"}, ()) == {}


def test_few_pools_move_when_one_member_comes() -> None:
    """Of forty, about a tenth each for ten members: hardly more than the newcomer's share changes hands."""
    pools = [f"pool-{number}" for number in range(40)]
    members = [f"member-{number}" for number in range(10)]
    before, after = spread(pools, members[:-1]), spread(pools, members)

    assert sum(before[pool] != after[pool] for pool in pools) <= 14
