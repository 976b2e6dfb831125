"""The storm of resumes that the documentation quotes runs on two real hubs."""

from loadtests.hub.world import opened_world
from loadtests.resume_bench import OTHER, SAME, START, WAYS, Plan, measure

TINY = Plan(people=12, rounds=1)


def test_everybody_comes_back_to_either_node() -> None:
    """Nobody's session is lost, on the node that has it or on the other, and every way of coming was measured."""
    with opened_world(TINY.people) as world:
        seen = measure(world, TINY)

    assert seen[SAME].lost == 0
    assert seen[OTHER].lost == 0
    assert all(len(seen[way].per_s) == 1 and seen[way].per_s[0] > 0 for way in WAYS)
    assert min(seen[START].hubs_us[0], seen[SAME].hubs_us[0], seen[OTHER].hubs_us[0]) > 0
