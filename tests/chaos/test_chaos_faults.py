"""That faults are drawn as promised, and that their proofs can tell what happened from what did not."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.deployment import Layout
from tests.chaos.faults import NotSeen, processor_ticks, prove, state_of, until_state
from tests.chaos.faults_processes import KillProcess
from tests.chaos.history import History
from tests.chaos.run import errors_in, noticed
from tests.chaos.schedule import draw, groups

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
BUSY = "print('up', flush=True)\nwhile True: pass"


@pytest.fixture
async def busy() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that always has something to do."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    await child.stdout.readline()
    yield child
    if child.returncode is None:
        child.kill()
    await child.wait()


@pytest.mark.parametrize("layout", [Layout(), Layout(cluster=True)], ids=["plain", "cluster"])
def test_a_seed_draws_the_same_faults_again(layout: Layout) -> None:
    """Else a seed that failed would say nothing."""
    kinds = groups(layout, postgres_s=6.0)

    once, again, other = (draw(seed, layout, kinds, rounds=3) for seed in (7, 7, 8))

    assert list(map(repr, once)) == list(map(repr, again))
    assert list(map(repr, once)) != list(map(repr, other))


@pytest.mark.parametrize("layout", [Layout(), Layout(cluster=True)], ids=["plain", "cluster"])
def test_a_round_breaks_one_of_each_group(layout: Layout) -> None:
    """No run leaves out a kind of thing that breaks, whatever its seed."""
    kinds = groups(layout, postgres_s=6.0)

    for seed in range(50):
        faults = draw(seed, layout, kinds)

        assert len(faults) == len(kinds)
        assert any(isinstance(fault, KillProcess) and fault.member.startswith("hub-") for fault in faults)
        assert any(fault.excuse.lossy for fault in faults)


def test_later_rounds_break_in_other_ways() -> None:
    """Rounds take the kinds of a group by turns, so a long run makes all of them."""
    layout = Layout()
    kinds = groups(layout, postgres_s=6.0)
    rounds = max(map(len, kinds.values()))

    names = {type(fault).__name__ for fault in draw(3, layout, kinds, rounds=rounds)}

    assert names == {
        *("KillProcess", "PauseProcess", "KillRedis", "FlushRedis", "PauseRedis", "StopPostgres"),
        *("Stall", "Reset", "Cut", "Slow", "Refuse", "Overload"),
    }


@needs_proc
async def test_a_stopped_process_is_told_from_a_running_one(busy: asyncio.subprocess.Process) -> None:
    """SIGSTOP shows as state T and no processor time; SIGCONT ends both."""
    running = state_of(busy.pid)
    os.kill(busy.pid, signal.SIGSTOP)
    stopped = await until_state(busy.pid, "T")
    before = processor_ticks(busy.pid)
    await asyncio.sleep(0.3)
    used = processor_ticks(busy.pid) - before
    os.kill(busy.pid, signal.SIGCONT)
    awake = await until_state(busy.pid, "RS")
    async with asyncio.timeout(20):
        while processor_ticks(busy.pid) == before:
            await asyncio.sleep(0.02)

    assert running in ("R", "S", "D")
    assert (stopped, used) == ("T", 0)
    assert awake in ("R", "S")


@needs_proc
async def test_a_killed_process_is_told_from_a_living_one(busy: asyncio.subprocess.Process) -> None:
    """No state is left of it once it was waited for."""
    alive = state_of(busy.pid)
    busy.kill()
    status = await busy.wait()

    assert alive in ("R", "S", "D")
    assert status == -signal.SIGKILL
    assert state_of(busy.pid) == ""


def test_a_fault_without_a_proof_is_none() -> None:
    """What was not seen did not happen."""
    prove(True, "seen")

    with pytest.raises(NotSeen, match="not seen"):
        prove(False, "not seen")


def test_what_people_notice_of_a_restart_is_counted() -> None:
    """A cut socket, a session that did not go on, a call lost by the network; not a polite goodbye."""
    history = History()
    history.add(0, "shut", {"by": "them", "code": 4001}, socket=1)
    history.add(0, "sent", {"type": "session.resume", "data": {}}, socket=2)
    history.add(0, "heard", {"type": "session.resumed", "data": {}}, socket=2)
    history.add(0, "shut", {"by": "us", "code": 1000}, socket=2)
    unnoticed = noticed(history)
    history.add(1, "shut", {"by": "them", "code": None}, socket=1)
    history.add(1, "sent", {"type": "session.resume", "data": {}}, socket=2)
    history.add(1, "heard", {"type": "session.ready", "data": {}}, socket=2)
    history.add(
        1, "heard", {"type": "call.ended", "data": {"call_id": "c", "reason": "network_lost"}}, socket=2
    )

    assert unnoticed == []
    assert sorted(noticed(history)) == [
        "a call was lost by the network, 1 times",
        "a session was not resumed, 1 times",
        "a socket was closed with None, 1 times",
    ]


def test_errors_in_a_log_are_found(tmp_path: Path) -> None:
    """Each kind once, with its exception's last line; warnings are none."""
    log = tmp_path / "hub-1.log"
    log.write_text(
        '{"event": "redis is away", "level": "warning"}\nnot JSON\n'
        '{"event": "failed", "exception": "Traceback:\\n  here\\nKeyError: 1", "level": "error"}\n'
        '{"event":"failed","exception":"Traceback:\\n  there\\nKeyError: 1","level":"error"}\n'
    )

    assert errors_in(log) == ["hub-1.log: logged 2 times: failed KeyError: 1"]
