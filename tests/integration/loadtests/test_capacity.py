"""The measurement behind the capacity model runs on real servers, and counts what it says it counts."""

from collections import Counter
from dataclasses import replace

import pytest

from loadtests.capacity import Cost, Plan, Reading, cost, measure, opened_site, report
from loadtests.capacity_model import Crowd, Prices, load_of
from loadtests.hub.world import opened_world

TINY = Plan(calls=4, idle=10, idle_s=1.0, settle_s=1.0)


def test_a_call_costs_what_it_must() -> None:
    """Each step that every call takes is among the commands, once or twice as the protocol has it; the report has all rows.

    What those who come together share, acknowledgements and reading who they are, is there for all of them.
    """
    with opened_world(TINY.people) as world, opened_site(world) as site:
        figures = measure(site, TINY)
    called = figures.call.commands

    assert 1 <= called["call_create"] <= 4
    assert called["user_join"] >= 2
    assert called["user_enter_call"] >= 2
    assert called["queue_ack"] > 0
    assert called["call_commit"] >= 4
    assert called["user_part"] >= 2
    assert called["call_recorded"] >= 1
    assert figures.connect.commands["presence_register"] == pytest.approx(1, abs=0.2)
    assert figures.call.transactions > 0.3
    assert min(figures.call.cpu_us["serve"], figures.connect.cpu_us["serve"]) > 0
    assert "| `call_commit` |" in report(figures, TINY)


def test_what_runs_anyway_is_taken_off() -> None:
    """Two seconds between the readings, of which each takes ten commands by itself: five are left for each of two."""
    before = Reading(0.0, Counter(), {"serve": 0.0}, 0)
    after = Reading(2.0, Counter(GET=30), {"serve": 0.001}, 6)
    idle = Cost({"GET": 10.0}, {"serve": 100.0}, 1.0)

    assert cost(before, after, 2, idle) == Cost({"GET": 5.0}, {"serve": pytest.approx(400.0)}, 2.0)


def test_twice_the_people_take_twice_as_much_but_for_what_runs_anyway() -> None:
    """The model adds up what it says it adds up, with no figure of its own."""
    prices = Prices(
        nobody={"serve": 1_000.0},
        session={"serve": 2.0},
        connect={"serve": 600.0},
        call={"serve": 1_800.0},
        relay_us=30.0,
        connect_commands=4.0,
        call_commands=28.0,
        session_kb=5.0,
    )
    crowd = Crowd(
        36_000, in_call=0.5, call_s=180.0, relays_per_call=40.0, stay_s=1_200.0, matches_per_call=2.0
    )
    load, double = load_of(crowd, prices), load_of(replace(crowd, people=72_000), prices)

    assert crowd.calls_per_s == 50
    assert load.cores["serve"] == pytest.approx(
        (1_000 + 36_000 * 2 + 30 * 600 + 100 * 1_800 + 50 * 40 * 30) / 1e6
    )
    assert load.commands_per_s == pytest.approx(30 * 4 + 100 * 28)
    assert double.cores["serve"] - load.cores["serve"] == pytest.approx(load.cores["serve"] - 0.001)
    assert double.sessions_gb == pytest.approx(2 * load.sessions_gb)
