"""Workers that die again and again, and what their supervisor ends with."""

import asyncio
import os
import signal

import pytest
from prometheus_client import CollectorRegistry

from base.clock import SystemClock
from minuet.embedded.server import free_port
from minuet.supervisor import policy
from minuet.supervisor.doors import open_doors
from minuet.supervisor.metrics import SupervisorMetrics
from minuet.supervisor.supervisor import Supervisor
from minuet.supervisor.worker import Worker
from tests.integration.workers.crew import CrewOf


async def test_a_supervisor_whose_workers_all_die_ends_with_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    """Nobody comes to serve: after seven deaths in a row it gives up, and the orchestrator can tell that from a mistake."""
    monkeypatch.setattr(policy, "PAUSES_MS", (0,) * len(policy.PAUSES_MS))
    settings = {
        "MINUET_REDIS_URL": redis_url,
        # There is no database: what starts says so and ends.
        "MINUET_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
        "MINUET_AUTH_SECRET": "s" * 40,
    }
    for name in [name for name in os.environ if name.startswith("MINUET_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    registry = CollectorRegistry()
    doors = open_doors("127.0.0.1", 0, 1)
    started: list[bool] = []

    async def ask(_worker: Worker) -> bool:
        return True

    supervisor = Supervisor(["serve"], doors, SystemClock(), SupervisorMetrics(registry), ask=ask)
    async with asyncio.timeout(120):
        status = await supervisor.run(lambda: started.append(True))
    for door in doors:
        door.close()

    assert status == policy.GAVE_UP
    assert registry.get_sample_value("minuet_worker_deaths_total") == policy.GIVE_UP_AFTER
    assert started == []


async def test_a_supervisor_that_is_stopped_at_any_moment_ends(crew_of: CrewOf) -> None:
    """SIGTERM while a worker is dead, about to be started, or starting: nothing is left running, and it ends well."""
    for after_s in (0.0, 0.005, 0.05, 0.4):
        crew = await crew_of(1)
        (pid,) = await crew.pids()
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(after_s)
        crew.process.child.send_signal(signal.SIGTERM)

        async with asyncio.timeout(60):
            assert await crew.process.child.wait() == 0
