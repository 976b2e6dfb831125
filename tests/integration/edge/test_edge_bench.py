"""The benchmark itself runs: real servers in processes of their own, a handful of messages."""

import os
import sys

import pytest

from loadtests.edge.targets import AIOHTTP, EDGE, ICE, MESSAGES, SDP
from loadtests.edge_bench import Plan, Results, measure_connects, measure_relays, table

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="pins processes to two cores, reads /proc",
)
TINY = Plan(rounds=1, slices=1, slice_s=0.1, pairs=3, idle=40)


@pytest.mark.alone
def test_both_servers_relay_and_every_figure_is_there() -> None:
    """Messages arrive on both; each row of the table has a figure for each server and a ratio."""
    results = [Results(EDGE), Results(AIOHTTP)]
    for result in results:
        measure_connects(result, TINY)
    measure_relays(results, TINY)
    rows = table(results[0], results[1:]).splitlines()

    for result in results:
        for kind in (ICE, SDP):
            [run] = result.relayed[kind]
            assert run.messages > 100
            assert 0 < run.cpu_s < 1
        assert all(value > 0 for name, value in result.rows().items() if not name.startswith("KB"))
    assert len(rows) == 2 + len(results[0].rows())
    assert all(row.count("|") == 5 for row in rows)


def test_the_messages_have_the_sizes_they_are_said_to_have() -> None:
    """235 bytes as a candidate, 3 kB as a description."""
    assert {kind: len(message) for kind, message in MESSAGES.items()} == {ICE: 235, SDP: 3000}
