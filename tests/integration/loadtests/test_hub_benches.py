"""The benchmarks of the hub themselves run: real servers in processes of their own, a handful of people."""

import os
import sys

import pytest

from loadtests import hub_bench, match_bench
from loadtests.edge.targets import ICE, SDP
from loadtests.hub.world import opened_world

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="pins processes to two cores, reads /proc",
)
TINY = hub_bench.Plan(
    rounds=1, slices=1, pairs=3, idle=20, descriptions=4, paced_per_s=300, paced_s=0.5, warm_up=4
)


def test_hub_and_plain_server_relay_and_every_figure_is_there() -> None:
    """Everything that was sent is delivered, on both; each row of the table has both figures and a ratio."""
    hub, plain, aside = hub_bench.Results("hub"), hub_bench.Results("plain"), hub_bench.Aside()
    with opened_world(TINY.people) as world:
        hub_bench.measure_hub_starts(hub, aside, world, TINY)
        hub_bench.measure_plain_starts(plain, TINY)
        hub_bench.measure_relays(hub, plain, world, TINY)
    rows = hub_bench.table(hub, plain).splitlines()

    for results in (hub, plain):
        assert [run.messages for run in results.relayed[SDP]] == [3 * 4]
        assert [run.messages for run in results.relayed[ICE]] == [3 * 40]
        [paced] = results.paced
        assert len(paced.latencies_ms) == paced.messages == 150
        assert all(value > 0 for name, value in results.rows().items() if not name.startswith("KB"))
    assert len(rows) == 2 + len(hub.rows())
    assert all(row.count("|") == 5 for row in rows)


def test_everybody_who_joins_finds_somebody_in_both_layouts() -> None:
    """Each rate ends with all of its matches, their waits, and a price for each process that runs."""
    plan = match_bench.Plan(rates=(20,), seconds=1.0)
    with opened_world(plan.people, match_bench.CONFIG) as world:
        results = {
            layout: match_bench.measure_layout(layout, world, plan, f"{number}:")
            for number, layout in enumerate(match_bench.LAYOUTS)
        }
    rows = match_bench.table({layout: [runs] for layout, runs in results.items()}).splitlines()

    for layout, [run] in results.items():
        assert len(run.waits_ms) == 20
        assert run.missing == 0
        assert min(run.waits_ms) > 0
        assert all(run.cpu_us[name] > 0 for name in ("hub", "Valkey", "PostgreSQL"))
        assert (run.cpu_us["matchmaker"] > 0) == (layout == "matchmaker apart")
    assert len(rows) == 4
