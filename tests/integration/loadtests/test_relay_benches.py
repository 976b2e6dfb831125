"""The benchmarks over real sockets run themselves: servers in processes of their own, a handful of people."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests import match_bench, relay_bench
from loadtests.edge.targets import ICE, SDP
from loadtests.hub.world import Account, opened_world
from loadtests.relay.report import CPU, GOALS, Results
from loadtests.relay.targets import (
    AIOHTTP,
    AIOHTTP_OK,
    ALL,
    HUB,
    SOCKET_IO,
    WS,
    C,
    NodePeer,
    Peer,
    Target,
    chosen,
)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="pins processes to two cores, reads /proc",
)
TINY = relay_bench.Plan(
    rounds=1,
    slices=1,
    pairs=3,
    idle=20,
    matches=6,
    descriptions=4,
    paced_per_s=300,
    paced_slices=1,
    paced_s=0.5,
    warm_up=4,
)


def measured(*targets: Target) -> relay_bench.Bench:
    """One tiny round of them all. The tests' own cores are left as they were."""
    bench: relay_bench.Bench
    with opened_world(TINY.people) as world:
        bench = relay_bench.Bench(targets, world, TINY)
        bench.measure_round()
    return bench


def check(results: Results) -> None:
    """Everything that was sent was delivered, everybody met, and no figure is missing."""
    check_relays(results)
    assert all(value > 0 for name, value in results.rows().items() if not name.startswith("KB"))


def check_relays(results: Results) -> None:
    """Everything that was sent was delivered."""
    assert [run.messages for run in results.relayed[SDP]] == [3 * 4]
    assert [run.messages for run in results.relayed[ICE]] == [3 * 40]
    [paced] = results.paced
    assert len(paced.latencies_ms) == paced.messages == 150


def test_hub_and_plain_aiohttp_are_compared_figure_by_figure() -> None:
    """Both do all of it in one run; each figure has a column for each, each goal a ratio."""
    bench = measured(HUB, AIOHTTP)
    tables = relay_bench.report(bench, TINY)
    rows = [line for line in tables.splitlines() if line.startswith("| ")]

    for results in bench.results.values():
        check(results)
    assert sum(row.count("|") == 4 for row in rows) == 2 + len(bench.results[HUB].rows())
    assert sum("reached" in row or "missed" in row for row in rows) == len(GOALS)


def test_plain_aiohttp_can_make_the_promises_too() -> None:
    """With an `ok` to each message and an outbox that clients acknowledge, it still relays all that is sent."""
    bench = measured(HUB, AIOHTTP_OK)
    tables = relay_bench.report(bench, TINY)

    check(bench.results[AIOHTTP_OK])
    assert "reached" not in tables
    assert "missed" not in tables


@pytest.mark.parametrize("target", [WS, SOCKET_IO], ids=["ws", "socket.io"])
def test_relays_on_node_take_tokens_pair_and_pass_on(target: NodePeer) -> None:
    """The same clients, the same work; where its packages are installed."""
    if target.missing():
        pytest.skip(f"{target.name}: {target.missing()}")

    bench = measured(target)

    check(bench.results[target])
    assert target.package in target.versions()


def test_the_limit_of_the_machine_passes_on_all_that_is_sent(require_tool: Callable[[str], str]) -> None:
    """It checks nobody and stores nothing, and still every message reaches the other one of its pair."""
    require_tool("cc")
    bench = measured(C)

    check_relays(bench.results[C])
    assert bench.results[C].rows()[CPU[ICE]] > 0


@pytest.mark.parametrize(
    "target", [AIOHTTP, AIOHTTP_OK, WS, SOCKET_IO], ids=["aiohttp", "aiohttp-ok", "ws", "socket.io"]
)
def test_the_others_refuse_a_token_that_is_not_ours(target: Peer) -> None:
    """A relay that lets everybody in would be cheaper, and the comparison worth nothing."""
    if target.missing():
        pytest.skip(f"{target.name}: {target.missing()}")
    with opened_world(2) as world, target.running(world, "forged:") as server:
        honest, other = world.people
        forged = Account(other.user_id, other.token[:-4] + "AAAA")
        swarm = target.swarm(server)
        swarm.connect(target.talks([honest], meets=False))

        with pytest.raises((RuntimeError, ConnectionError)):
            swarm.connect(target.talks([forged], meets=False), patience_s=2.0)


def test_what_is_not_installed_is_left_out_with_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A comparison with what is here is better than none, as long as nobody takes it for the whole."""
    monkeypatch.setattr("loadtests.relay.targets.PEERS", tmp_path)

    targets = chosen("hub,aiohttp,ws,socket.io", ALL)

    assert targets == [HUB, AIOHTTP]
    assert capsys.readouterr().err.count("make bench-peers") == 2
    with pytest.raises(SystemExit, match="nats"):
        chosen("hub,nats", ALL)


def test_everybody_who_joins_finds_somebody_in_every_layout() -> None:
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
        assert all(run.cpu_us[name] > 0 for name in ("hubs", "Valkey", "PostgreSQL"))
        assert (run.cpu_us["matchmaker"] > 0) == (layout != "one process")
    assert len(rows) == 5
