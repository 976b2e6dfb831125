"""The benchmark of relays between nodes runs itself: two processes of each server, a handful of pairs of each kind."""

import os
import sys
from collections.abc import Sequence

import pytest

from loadtests import cross_node_bench
from loadtests.cross_node_bench import APART, TOGETHER
from loadtests.edge.targets import ICE, SDP
from loadtests.hub.world import opened_world
from loadtests.relay.targets import AIOHTTP, HUB, SOCKET_IO, WS, Target

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="pins processes to two cores, reads /proc",
)
TINY = cross_node_bench.Plan(pairs=3, slices=1, descriptions=4, paced_per_s=200, paced=100)


def check(targets: Sequence[Target]) -> str:
    """Everything that was sent was delivered, and only pairs on two processes have used the bus; the report."""
    with (
        opened_world(TINY.people) as world,
        cross_node_bench.opened_bench(targets, world, TINY) as deployments,
    ):
        cross_node_bench.measure(deployments, TINY)
        report = cross_node_bench.report(deployments, TINY)
        nodes = [{name: one.crossings(name) for name in (TOGETHER, APART)} for one in deployments]
    for deployment in deployments:
        for seen in deployment.seen.values():
            assert [run.messages for run in seen.relayed[SDP]] == [3 * 4]
            assert [run.messages for run in seen.relayed[ICE]] == [3 * 40]
            [paced] = seen.paced
            assert len(paced.latencies_ms) == 100
    assert nodes == [{TOGETHER: 0, APART: 3}] * len(targets)
    return report


def test_both_kinds_of_pairs_relay_and_are_compared() -> None:
    """The hub beside aiohttp: a table for each, and what ours cost of theirs."""
    report = check([HUB, AIOHTTP])
    rows = [line for line in report.splitlines() if line.startswith("| ")]

    assert sum(row.count("|") == 5 for row in rows) == 2 * (2 + 8)
    assert sum(row.count("|") == 3 for row in rows) == 2 + 8
    assert ("reached" in report) + ("missed" in report) == 1


@pytest.mark.parametrize("target", [WS, SOCKET_IO], ids=["ws", "socket.io"])
def test_relays_on_node_pass_on_between_processes(target: Target) -> None:
    """By a channel of Redis for each process, and by Socket.IO's adapter."""
    if target.missing():
        pytest.skip(f"{target.name}: {target.missing()}")

    assert "reached" not in check([target])
