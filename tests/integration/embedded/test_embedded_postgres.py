"""The embedded PostgreSQL, as `minuet dev` and the tests use it: a real server each time."""

import asyncio
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest

from minuet.embedded import EmbeddedPostgres, ServerNotFound, StateFolderUnusable
from minuet.embedded.postgres import DISTRIBUTION, find_postgres
from minuet.embedded.processes import children_of, name_of
from tests.fixtures.waiting import until

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")

# On a machine that has much else to do.
PATIENCE_S = 60.0
ROOT = os.geteuid() == 0


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=PATIENCE_S)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_client_logs_in_by_scram_and_only_with_the_password(tmp_path: Path) -> None:
    """The database is ours from the first start on; a wrong password opens nothing."""
    async with EmbeddedPostgres(tmp_path, durable=False) as server:
        stored = await query(server.url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'minuet'")
        database = await query(server.url, "SELECT current_database()")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(server.url.replace("minuet:", "minuet:wrong"), "SELECT 1")

        assert str(stored).startswith("SCRAM-SHA-256$")
        assert database == "minuet"
        assert await query(server.url, "SHOW listen_addresses") == "127.0.0.1"
        assert await query(server.url, "SHOW unix_socket_directories") == ""


async def test_data_is_kept_and_the_second_start_is_fast(tmp_path: Path) -> None:
    """The folder is made once; later starts take a tenth of a second (more here, for a busy machine)."""
    async with EmbeddedPostgres(tmp_path) as server:
        await query(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    made = (tmp_path / "postgres" / "PG_VERSION").stat().st_ino
    began = time.monotonic()
    async with EmbeddedPostgres(tmp_path) as server:
        took = time.monotonic() - began
        answer = await query(server.url, "SELECT answer FROM kept")

        assert answer == 42
        assert (tmp_path / "postgres" / "PG_VERSION").stat().st_ino == made
        assert took < 20


async def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL of all its processes, a stale pid file left behind, and the same address afterwards."""
    async with EmbeddedPostgres(tmp_path) as server:
        url = server.url
        await query(url, "CREATE TABLE kept AS SELECT 7 AS answer")
        assert server.pid is not None
        family = children_of(server.pid)
        await server.kill()
        left = [name for pid in family if (name := name_of(pid))]
        stale = (tmp_path / "postgres" / "postmaster.pid").exists()
        again = await server.start()

        assert family
        assert stale
        assert again == url
        assert await query(url, "SELECT answer FROM kept") == 7
        assert left == []


async def test_a_stale_pid_file_whose_number_lives_again_is_no_obstacle(tmp_path: Path) -> None:
    """In a container the numbers come again: PostgreSQL alone would take that process for a server and refuse."""
    async with EmbeddedPostgres(tmp_path, durable=False) as server:
        await server.kill()
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        sleeper = await asyncio.create_subprocess_exec("sleep", "60")
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(sleeper.pid), *lines[1:]]) + "\n")
        try:
            await server.start()

            assert server.running
        finally:
            sleeper.kill()
            await sleeper.wait()


async def test_a_paused_server_answers_no_connection_new_or_old(tmp_path: Path) -> None:
    """All its processes stop, not only the one that accepts."""
    async with EmbeddedPostgres(tmp_path, durable=False) as server:
        connection = await asyncpg.connect(server.url)
        server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                asyncio.shield(asyncio.ensure_future(connection.fetchval("SELECT 1"))), 0.3
            )
        with pytest.raises(TimeoutError):
            await asyncpg.connect(server.url, timeout=0.3)
        server.resume()

        assert await query(server.url, "SELECT 1") == 1
        connection.terminate()


async def test_a_paused_server_with_a_client_still_stops(tmp_path: Path) -> None:
    """A test that fails between pause and resume must not leave frozen processes behind."""
    server = EmbeddedPostgres(tmp_path, durable=False)
    await server.start()
    connection = await asyncpg.connect(server.url)
    assert server.pid is not None
    server.pause()
    family = children_of(server.pid)
    await asyncio.wait_for(server.stop(), PATIENCE_S)
    connection.terminate()

    assert not server.running
    await until(lambda: not any(map(name_of, family)), PATIENCE_S)


async def test_a_start_cut_short_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    """Ctrl-C in the middle of initdb: a half-made folder must never be taken for a whole one."""
    before = set(children_of(os.getpid()))
    folder = await half_made(tmp_path)

    # Others' children may have gone meanwhile.
    assert set(children_of(os.getpid())) <= before
    assert not (folder / "postgres").exists()
    async with EmbeddedPostgres(folder) as server:
        assert await query(server.url, "SELECT 1") == 1


async def half_made(tmp_path: Path) -> Path:
    """A folder in which a start was cut short in initdb. Where that was over before we looked, another one."""
    for number in range(10):
        folder = tmp_path / str(number)
        server = EmbeddedPostgres(folder)
        start = asyncio.create_task(server.start())
        while not start.done() and not list((folder / "postgres.new").glob("base")):
            await asyncio.sleep(0.005)
        start.cancel()
        try:
            await start
        except asyncio.CancelledError:
            if not (folder / "postgres").exists():
                return folder
        await server.stop()
    raise AssertionError("no start was ever seen in the middle")


async def test_data_of_another_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """PostgreSQL reads only its own major version's files."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")

    with pytest.raises(StateFolderUnusable, match=r"PostgreSQL 9.*not installed"):
        await EmbeddedPostgres(tmp_path).start()


async def test_a_lost_password_is_named(tmp_path: Path) -> None:
    """Without it the data cannot be opened; a new one would not fit."""
    async with EmbeddedPostgres(tmp_path, durable=False):
        pass
    (tmp_path / "postgres.password").unlink()

    with pytest.raises(StateFolderUnusable, match=r"postgres\.password is missing"):
        await EmbeddedPostgres(tmp_path).start()


async def test_a_wrong_password_is_named(tmp_path: Path) -> None:
    """Restored from the wrong backup, say."""
    async with EmbeddedPostgres(tmp_path, durable=False):
        pass
    (tmp_path / "postgres.password").write_text("another\n")
    server = EmbeddedPostgres(tmp_path)

    with pytest.raises(StateFolderUnusable, match="does not open"):
        await server.start()
    assert not server.running


async def test_without_any_server_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither wheel nor PATH nor a distribution's folder has one."""
    monkeypatch.setattr("minuet.embedded.postgres.package_folder", lambda name: None)
    monkeypatch.setattr("minuet.embedded.postgres.DISTRIBUTION", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerNotFound, match=r"dev.*extra.*MINUET_DATABASE_URL"):
        await EmbeddedPostgres(tmp_path / "state").start()


async def test_a_distribution_folder_is_searched_where_the_wheel_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian keeps the servers off PATH, one folder a version; the newest is taken."""
    wheel = find_postgres(None, None)
    (tmp_path / "9").mkdir()
    (tmp_path / "18").symlink_to(wheel.path.parent.parent)
    monkeypatch.setattr("minuet.embedded.postgres.package_folder", lambda name: None)
    monkeypatch.setattr("minuet.embedded.postgres.DISTRIBUTION", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    async with EmbeddedPostgres(tmp_path / "state", durable=False) as server:
        assert await query(server.url, "SELECT 1") == 1


@pytest.mark.skipif(not list(DISTRIBUTION.glob("*/bin/initdb")), reason="no distribution's PostgreSQL here")
async def test_the_distribution_own_server_serves_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older major version than the wheel's, with a folder that its user cannot reach by path."""
    monkeypatch.setattr("minuet.embedded.postgres.package_folder", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    async with EmbeddedPostgres(tmp_path / "state", durable=False) as server:
        await server.kill()
        await server.start()

        assert str(await query(server.url, "SHOW data_directory"))
        assert Path(os.readlink(f"/proc/{server.pid}/exe")).is_relative_to(DISTRIBUTION)


@NEEDS_PROC
async def test_the_password_is_in_a_private_file_and_not_among_the_arguments(tmp_path: Path) -> None:
    """`ps` shows arguments to every user of the machine."""
    async with EmbeddedPostgres(tmp_path, durable=False) as server:
        stored = tmp_path / "postgres.password"
        arguments = Path(f"/proc/{server.pid}/cmdline").read_bytes()

        assert stored.read_text().strip() in server.url
        assert stored.read_text().strip().encode() not in arguments
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600


@NEEDS_PROC
@pytest.mark.skipif(not ROOT, reason="only root can own what others cannot read")
async def test_root_runs_a_copy_where_the_environment_lies_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment and a checkout under /root: the server gets a readable copy, made once."""
    closed = tmp_path / "root"
    closed.mkdir(mode=0o700)
    # Not under tmp_path, where the unprivileged user cannot go either.
    cache = Path(tempfile.gettempdir(), f"minuet-test-{os.getpid()}")
    wheel = find_postgres(None, None)
    for part in wheel.parts:
        shutil.copytree(wheel.home / part, closed / part, symlinks=True)
    monkeypatch.setattr("minuet.embedded.postgres.package_folder", lambda name: closed / wheel.parts[0])
    monkeypatch.setattr("minuet.embedded.binaries.cache_folder", lambda: cache)
    cache.mkdir(mode=0o755)
    try:
        async with EmbeddedPostgres(closed / "state", durable=False) as server:
            executable = os.readlink(f"/proc/{server.pid}/exe")
            owner = Path(f"/proc/{server.pid}").stat().st_uid
        made = [entry.stat().st_ino for entry in cache.iterdir()]
        async with EmbeddedPostgres(closed / "state", durable=False):
            pass

        assert Path(executable).is_relative_to(cache)
        assert owner != 0
        assert [entry.stat().st_ino for entry in cache.iterdir()] == made
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        shutil.rmtree(cache)
