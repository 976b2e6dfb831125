"""A node whose clock is off says so before its timers and tokens are trusted."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.fixtures.deployment import Deploy, Process

SCRIPT = Path(__file__).with_name("skewed_process.py")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("ahead_ms", "status"), [(50, 200), (-700, 503), (700, 503)])
async def test_more_than_a_quarter_of_a_second_is_not_ready(
    deploy: Deploy, tmp_path: Path, ahead_ms: int, status: int
) -> None:
    """Held against the store's clock, which the scripts judge by; a little is nobody's business."""
    deployment = await deploy()
    log = tmp_path / "skewed.log"
    with log.open("wb") as sink:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            str(ahead_ms),
            "worker",
            env={**deployment.environment, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
        )
    process = Process("worker", child, log)
    deployment.processes.append(process)
    await process.started()
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        while True:
            async with http.get(f"{process.admin}/readyz") as response:
                body = await response.json()
            # How far off it is, a machine that is busy tells by the fastest of several answers.
            if response.status == status:
                break
            await asyncio.sleep(0.2)

    assert body["checks"]["clock"]["ok"] == (status == 200)
