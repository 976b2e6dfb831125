"""Nothing stays behind: the servers end with the process that started them, however that one ends.

Each test runs a small program of its own, as `minuet dev` would, and looks at the processes from outside.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minuet.embedded import ServerNotFound, StateFolderInUse, embedded_servers
from minuet.embedded.processes import children_of, name_of

# On a machine that has much else to do: what must end may take so long.
PATIENCE_S = 60.0
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")

PROGRAM = textwrap.dedent("""
    import asyncio, json, sys
    from contextlib import AsyncExitStack
    from pathlib import Path
    import asyncpg
    from minuet.embedded import EmbeddedPostgres, EmbeddedValkey, embedded_servers

    def tell(**words):
        print(json.dumps(words), flush=True)

    async def main(folder, guard):
        async with AsyncExitStack() as stack:
            if guard == "both":
                servers = await stack.enter_async_context(embedded_servers(folder, durable=False))
                valkey, postgres = servers.valkey, servers.postgres
            else:
                kernel = guard == "kernel"
                valkey = await stack.enter_async_context(EmbeddedValkey(folder, kernel_guard=kernel))
                postgres = await stack.enter_async_context(EmbeddedPostgres(folder, kernel_guard=kernel))
            tell(valkey=valkey.pid, postgres=postgres.pid, url=postgres.url)
            try:
                await asyncio.sleep(600)
            finally:
                connection = await asyncpg.connect(postgres.url)
                tell(answered=await connection.fetchval("SELECT 1"))
                await connection.close()

    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
""")


@contextmanager
def program(folder: Path, guard: str = "both") -> Iterator[subprocess.Popen[str]]:
    """The program in a session of its own, killed at the end if the test did not."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), guard],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        pytest.fail(f"the program said nothing: {process.stderr.read()}")
    words: dict[str, Any] = json.loads(line)
    return words


def gone(pids: list[int], within_s: float) -> bool:
    """Whether all processes ended in time."""
    deadline = time.monotonic() + within_s
    while any(name_of(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("guard", ["kernel", "pipe"])
def test_no_server_outlives_a_parent_that_was_killed(tmp_path: Path, guard: str) -> None:
    """SIGKILL leaves no time for goodbyes: the kernel (Linux) or a guardian on a pipe (elsewhere) sees to it."""
    with program(tmp_path, guard) as process:
        servers = hear(process)
        pids = [servers["valkey"], servers["postgres"], *children_of(servers["postgres"])]
        # PostgreSQL has children that come and go by themselves.
        alive = [pid for pid in pids if name_of(pid)]
        process.kill()
        process.wait()
        all_gone = gone(alive, within_s=PATIENCE_S)

        assert len(alive) > 2
        assert alive[:2] == pids[:2]
        assert all_gone


@pytest.mark.parametrize("guard", ["kernel", "pipe"])
def test_the_folder_of_a_killed_parent_serves_again_at_once(tmp_path: Path, guard: str) -> None:
    """Stale lock, stale pid file, a server that is just leaving: none is in the way of the next start."""
    with program(tmp_path, guard) as process:
        hear(process)
        process.kill()
        process.wait()
    with program(tmp_path, guard) as process:
        servers = hear(process)
        process.send_signal(signal.SIGINT)

        assert servers["postgres"]
        assert hear(process) == {"answered": 1}
        assert process.wait(PATIENCE_S) != 0


def test_ctrl_c_reaches_the_program_and_not_its_servers(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group; the servers must still answer while we wind down, then be gone."""
    with program(tmp_path) as process:
        servers = hear(process)
        pids = [servers["valkey"], servers["postgres"], *children_of(servers["postgres"])]
        os.killpg(process.pid, signal.SIGINT)
        answer = hear(process)
        process.wait(PATIENCE_S)

        assert answer == {"answered": 1}
        assert gone(pids, within_s=PATIENCE_S)


@NEEDS_PROC
def test_no_guardian_stays_after_a_stop_in_good_order(tmp_path: Path) -> None:
    """The guardian of the systems without a kernel guard leaves with the server, and kills nothing."""
    with program(tmp_path, "pipe") as process:
        hear(process)
        guardians = [pid for pid in every_process() if str(tmp_path) in arguments(pid) and pid != process.pid]
        process.send_signal(signal.SIGINT)
        hear(process)
        process.wait(PATIENCE_S)

        assert len(guardians) >= 2
        assert gone(guardians, within_s=PATIENCE_S)


def every_process() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


async def test_two_programs_on_one_folder_are_refused_by_name(tmp_path: Path) -> None:
    """Twice `make run` in one checkout: the second one says which process has the folder, and the first goes on."""
    with program(tmp_path) as process:
        servers = hear(process)
        with pytest.raises(StateFolderInUse, match=rf"process {process.pid}\b.*MINUET_STATE_DIR"):
            async with embedded_servers(tmp_path):
                pass

        assert name_of(servers["valkey"])
        assert name_of(servers["postgres"])


async def test_only_the_servers_without_an_url_are_started(tmp_path: Path) -> None:
    """A URL in the settings wins over a server of ours."""
    async with embedded_servers(tmp_path, database_url="postgresql://elsewhere/db", durable=False) as servers:
        assert servers.database_url == "postgresql://elsewhere/db"
        assert servers.postgres is None
        assert servers.valkey is not None
        assert servers.redis_url == servers.valkey.url
        assert not (tmp_path / "postgres").exists()


async def test_when_one_server_cannot_start_the_other_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a pair is of no use, and must not stay behind."""
    before = set(children_of(os.getpid()))
    monkeypatch.setattr("minuet.embedded.valkey.package_folder", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerNotFound):
        async with embedded_servers(tmp_path, durable=False):
            pass

    # Others' children may have gone meanwhile.
    assert set(children_of(os.getpid())) <= before


async def test_an_impatient_second_cancel_still_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C twice: the servers are killed instead of asked."""
    before = set(children_of(os.getpid()))
    up = asyncio.Event()

    async def run() -> None:
        async with embedded_servers(tmp_path, durable=False) as servers:
            assert servers.postgres is not None
            servers.postgres.pause()
            up.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(run())
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    assert up.is_set(), task
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    # Others' children may have gone meanwhile.
    assert set(children_of(os.getpid())) <= before
