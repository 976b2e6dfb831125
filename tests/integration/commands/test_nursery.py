"""The processes that most tests talk to: forked from one that has imported Minuet, and like any other all the same."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.deployment import Deploy, Deployment
from tests.fixtures.nursery import ROOT, Nursery, nursery
from tests.fixtures.waiting import until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere each process is a Python of its own"
)


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_process_has_its_own_settings_output_and_log(deploy: Deploy) -> None:
    """Two of a kind: other addresses, other logs, and the environment that they were given and no other."""
    deployment = await deploy("serve", MINUET_LOG_LEVEL="info")
    quiet = Deployment({**deployment.environment, "MINUET_LOG_LEVEL": "error"}, deployment.folder)
    first, second = deployment.processes[0], await quiet.start("serve")
    await quiet.stop()

    assert first.public != second.public
    assert f'"pid": {first.pid}' in first.tail()
    assert second.log.read_text() == ""


async def test_what_a_process_does_differs_from_what_its_sibling_does(deploy: Deploy) -> None:
    """Chance is drawn anew after the fork: no two nodes have one name."""
    deployment = await deploy("matchmaker", "matchmaker")
    logs = [process.log for process in deployment.processes]
    await until(lambda: all("node_id" in log.read_text() for log in logs))
    names = {name for log in logs for name in re.findall(r'"node_id": "([^"]+)"', log.read_text())}

    assert len(names) == 2


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9), (signal.SIGINT, 0)]
)
async def test_a_process_ends_as_it_is_told_and_says_how(deploy: Deploy, number: int, status: int) -> None:
    """And is gone then, like any that its parent has looked after."""
    deployment = await deploy("worker")
    child = deployment.processes[0].child
    before = child.returncode
    child.send_signal(number)

    assert before is None
    assert await child.wait() == status
    assert not exists(child.pid)
    with pytest.raises(ProcessLookupError):
        child.kill()


async def test_what_cannot_start_has_the_status_of_its_command(deploy: Deploy) -> None:
    """What an operator can mend is status 2, with one line that says it."""
    deployment = await deploy()
    with pytest.raises(RuntimeError, match="minuet: "):
        await Deployment({**deployment.environment, "MINUET_PORT": "none"}, deployment.folder).start("serve")
    child = await nursery().start(["no-such-command"], deployment.environment, deployment.folder / "log")

    assert await child.wait() == 2


async def test_nobody_outlives_the_nursery(deploy: Deploy) -> None:
    """Nor, with it, a test run that was killed."""
    deployment = await deploy()
    own = Nursery()
    child = await own.start(["matchmaker"], deployment.environment, deployment.folder / "log")
    assert b"admin" in await child.stdout.readline()
    own.close()

    await until(lambda: not exists(child.pid))


def test_nothing_is_left_to_import_for_a_child() -> None:
    """Else each would pay for it. All that a hub imports while it runs is there when the first is forked."""
    code = "import sys, minuet.__main__; before = set(sys.modules); import minuet.wiring.roles; print(set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )

    assert done.stdout == "set()\n", done.stderr


async def test_children_are_started_side_by_side(deploy: Deploy) -> None:
    """Each is told from the others by what it prints."""
    deployment = await deploy()
    await asyncio.gather(*(deployment.start("matchmaker") for _ in range(4)))

    assert len({process.pid for process in deployment.processes}) == 4
    assert len({process.admin for process in deployment.processes}) == 4
