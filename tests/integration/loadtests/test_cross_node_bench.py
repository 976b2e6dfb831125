"""The benchmark of relays between nodes runs itself: two hubs, a handful of pairs of each kind."""

import os
import sys

import pytest

from loadtests import cross_node_bench
from loadtests.cross_node_bench import APART, TOGETHER
from loadtests.edge.targets import ICE, SDP
from loadtests.hub.world import opened_world

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="pins processes to two cores, reads /proc",
)
TINY = cross_node_bench.Plan(pairs=3, slices=1, descriptions=4, paced_per_s=200, paced=100)


def test_both_kinds_of_pairs_relay_and_are_compared() -> None:
    """Everything that was sent was delivered, and only pairs on two hubs have used the bus."""
    with opened_world(TINY.people) as world, cross_node_bench.opened_bench(world, TINY) as bench:
        bench.measure()
        nodes = {name: bench.crossings(name) for name in (TOGETHER, APART)}
    rows = [line for line in cross_node_bench.report(bench.seen, TINY).splitlines() if line.startswith("| ")]

    for seen in bench.seen.values():
        assert [run.messages for run in seen.relayed[SDP]] == [3 * 4]
        assert [run.messages for run in seen.relayed[ICE]] == [3 * 40]
        [paced] = seen.paced
        assert len(paced.latencies_ms) == 100
    assert nodes == {TOGETHER: 0, APART: 3}
    assert len(rows) == 2 + len(bench.seen[APART].rows(TINY))
    assert all(row.count("|") == 5 for row in rows)
