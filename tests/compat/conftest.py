"""The first landing beside today's tree: its processes on the same Redis and PostgreSQL, and its client.

Its source is taken from the repository's history. Where that is not at hand (a shallow clone, an archive), these tests
are skipped and say so.
"""

import asyncio
import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.compat.releases import FIRST_LANDING, ROOT, Beside, FirstLanding
from tests.e2e.unhurried import UNHURRIED
from tests.fixtures.deployment import PATIENT, Deployment, environment_for

# Nothing of what is shown here has to do with how long anything may take: however slow the machine, it is time enough.
CONFIG = UNHURRIED


@pytest.fixture(scope="session")
def first_landing(tmp_path_factory: pytest.TempPathFactory) -> FirstLanding:
    """Its source tree, unpacked."""
    try:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "--format=tar", FIRST_LANDING],
            capture_output=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("git is not installed, so there is no history to take the first landing from")
    if archive.returncode != 0:
        pytest.skip(
            f"the history here does not reach back to the first landing: {archive.stderr.decode().strip()}"
        )
    folder = tmp_path_factory.mktemp("first-landing")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return FirstLanding(folder)


@pytest.fixture
async def beside(bare: Beside) -> Beside:
    """A hub of each, with a matchmaker and a worker of today, on today's schema: what there is while hubs are updated.

    Matchmakers and workers went over before, as docs/operations.md wants it.
    """
    await asyncio.gather(bare.today.start_all("serve", "matchmaker", "worker"), bare.start_old("serve"))
    return bare


@pytest.fixture
async def bare(
    first_landing: FirstLanding, redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Beside]:
    """No process yet; those that a test starts are stopped at its end."""
    settings = {**PATIENT, "MINUET_ALLOWED_ORIGINS": "*"}
    environment = environment_for(tmp_path, redis_url, database_url, CONFIG, settings)
    # What the two write does not get mixed up.
    old_folder = tmp_path / "first-landing"
    old_folder.mkdir()
    deployment = Deployment(environment, tmp_path)
    deployments = Beside(deployment, first_landing, old_folder)
    try:
        yield deployments
    finally:
        await asyncio.gather(deployment.stop(), *(process.stop() for process in deployments.old_processes))
