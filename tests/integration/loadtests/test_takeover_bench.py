"""The benchmark of takeovers runs: few people, one kill, every figure there."""

from loadtests.takeover_bench import POOL, measure, members, table
from matchmaker.spread import spread


async def test_a_takeover_is_measured() -> None:
    """The next owner has the lease, matches, and knows the pool; all after the kill."""
    (takeover,) = await measure(waiting=300, rounds=1)
    (*_, row) = table([takeover]).splitlines()

    assert 0 < takeover.taken_s < takeover.matched_s
    assert takeover.known_s > 0
    assert takeover.cpu_s > 0
    assert row.count("|") == 5


def test_the_owner_keeps_its_pool_until_it_is_killed() -> None:
    """Whoever stands by comes later in the list, and would not be given the pool."""
    names = members(4)
    while names:
        assert spread({POOL: names}) == {POOL: names[-1]}
        names.pop()
