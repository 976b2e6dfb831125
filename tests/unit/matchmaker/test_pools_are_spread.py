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
    found = spread(dict.fromkeys(pools, members))

    assert set(found) == pools
    assert set(found.values()) <= members
    assert all(load <= -(-len(pools) // len(members)) for load in Counter(found.values()).values())


@given(standing=st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), names, max_size=12))
def test_a_pool_is_only_left_to_who_stands_for_it(standing: dict[str, set[str]]) -> None:
    """Others may be configured for other intents, or hang; a pool for which nobody stands has nobody."""
    found = spread(standing)

    assert set(found) == {pool for pool, members in standing.items() if members}
    assert all(member in standing[pool] for pool, member in found.items())


def test_who_stands_for_few_pools_is_left_those() -> None:
    """The other takes what only it can serve, and nothing of what both can."""
    found = spread({"arts": {"one", "two"}, "books": {"one"}, "chess": {"one"}, "dance": {"one", "two"}})

    assert found == {"arts": "two", "books": "one", "chess": "one", "dance": "two"}


@given(standing=st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), names, max_size=12))
def test_everybody_comes_to_the_same_answer(standing: dict[str, set[str]]) -> None:
    """Whatever the order in which they know of each other."""
    assert spread({pool: sorted(members) for pool, members in sorted(standing.items())}) == spread(
        {pool: sorted(members, reverse=True) for pool, members in sorted(standing.items(), reverse=True)}
    )


def test_nobody_serves_anything_where_nobody_is() -> None:
    """A matchmaker that knows of nobody, not even itself, has lost the roster."""
    assert spread({"friends": ()}) == {}


def test_few_pools_move_when_one_member_comes() -> None:
    """Of forty, about a tenth each for ten members: hardly more than the newcomer's share changes hands."""
    pools = [f"pool-{number}" for number in range(40)]
    members = [f"member-{number}" for number in range(10)]
    before, after = spread(dict.fromkeys(pools, members[:-1])), spread(dict.fromkeys(pools, members))

    assert sum(before[pool] != after[pool] for pool in pools) <= 14
