"""The embedded Valkey, as `minuet dev` and the tests use it: a real server each time."""

import asyncio
import os
import signal
import socket
import stat
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from minuet.embedded import EmbeddedValkey, ServerFailed, ServerNotFound, StateFolderInUse
from minuet.embedded.processes import children_of
from minuet.embedded.server import PORTS

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")

ROOT = os.geteuid() == 0
NO_RETRY = Retry(NoBackoff(), 0)


async def test_a_client_needs_the_password(tmp_path: Path) -> None:
    """Everything else on the machine can reach 127.0.0.1, so an open port would be an open database."""
    async with EmbeddedValkey(tmp_path) as server:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            welcome = await client.ping()
        async with redis.asyncio.Redis(port=server.port, retry=NO_RETRY) as stranger:
            with pytest.raises(redis.exceptions.AuthenticationError):
                await stranger.ping()

        assert welcome
        assert server.port in PORTS


async def test_what_was_written_survives_a_stop_and_a_kill(tmp_path: Path) -> None:
    """The append-only file holds each write before its answer goes out, so SIGKILL of the server loses none."""
    server = EmbeddedValkey(tmp_path)
    await server.start()
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.set("stopped", "kept")
    await server.stop()
    await server.start()
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.set("killed", "kept too")
    await server.kill()
    alive = server.running
    await server.start()
    async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
        found = await client.mget("stopped", "killed")
    await server.stop()

    assert not alive
    assert found == ["kept", "kept too"]


async def test_a_killed_server_comes_back_at_the_same_address(tmp_path: Path) -> None:
    """Clients under test reconnect to the URL they were given."""
    async with EmbeddedValkey(tmp_path, durable=False) as server:
        first, first_pid = server.url, server.pid
        await server.kill()
        second = await server.start()

        assert second == first
        assert server.pid != first_pid


async def test_a_paused_server_keeps_connections_and_answers_nobody(tmp_path: Path) -> None:
    """The stand-in for a server that hangs."""
    async with (
        EmbeddedValkey(tmp_path, durable=False) as server,
        redis.asyncio.Redis.from_url(server.url, retry=NO_RETRY) as client,
    ):
        await client.ping()
        server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.ping(), 0.3)
        server.resume()

        assert await client.ping()


async def test_a_paused_server_still_stops(tmp_path: Path) -> None:
    """A test that fails between pause and resume must not leave a frozen process behind."""
    server = EmbeddedValkey(tmp_path, durable=False)
    await server.start()
    server.pause()
    await asyncio.wait_for(server.stop(), 60)

    assert not server.running


async def test_a_server_for_tests_writes_nothing_to_disk(tmp_path: Path) -> None:
    """`durable=False` trades the data for speed."""
    async with EmbeddedValkey(tmp_path, durable=False) as server:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.set("a", "b")
        await server.stop()

        assert list((tmp_path / "valkey").iterdir()) == []


@NEEDS_PROC
async def test_secrets_show_neither_in_arguments_nor_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ps` shows arguments to every user; the environment of ours may hold secrets the server has no use for."""
    monkeypatch.setenv("MINUET_AUTH_SECRET", "hunter2")
    async with EmbeddedValkey(tmp_path) as server:
        seen = (
            Path(f"/proc/{server.pid}/cmdline").read_bytes()
            + Path(f"/proc/{server.pid}/environ").read_bytes()
        )
        stored = tmp_path / "valkey.password"

        assert stored.read_text().strip().encode() not in seen
        assert b"hunter2" not in seen
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "valkey").stat().st_mode) == 0o700


@NEEDS_PROC
@pytest.mark.skipif(not ROOT, reason="only root has privileges to give up")
async def test_root_gives_up_its_privileges(tmp_path: Path) -> None:
    """The server runs as an unprivileged user in no group of root's, inside a folder only that user may enter."""
    (tmp_path / "closed").mkdir(mode=0o700)
    async with EmbeddedValkey(tmp_path / "closed" / "state") as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())

        assert "0" not in fields["Uid"].split()
        assert "0" not in fields["Gid"].split()
        assert fields["Groups"].split() == []
        assert int(fields["CapEff"], 16) == 0


async def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two servers on one append-only file would destroy it; the message names who has it."""
    async with EmbeddedValkey(tmp_path) as server:
        with pytest.raises(StateFolderInUse, match=str(os.getpid())):
            await EmbeddedValkey(tmp_path).start()

        assert server.running


async def test_a_taken_port_is_an_error_with_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    """A fixed port is the caller's choice: no other is tried, and the folder is free again."""
    before = set(children_of(os.getpid()))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerFailed, match="Address already in use"):
            await EmbeddedValkey(tmp_path, port=taken.getsockname()[1]).start()

    # Others' children may have gone meanwhile.
    assert set(children_of(os.getpid())) <= before
    async with EmbeddedValkey(tmp_path) as server:
        assert server.running


async def test_a_server_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    """Whoever watches over the servers learns of it, with the reason."""
    async with EmbeddedValkey(tmp_path, durable=False) as server:
        watch = asyncio.create_task(server.until_ended())
        await asyncio.sleep(0)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGTERM)
        failure = await asyncio.wait_for(watch, 60)

        assert "ended with code 0" in str(failure)
        assert "SIGTERM" in failure.tail


async def test_without_any_server_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too old a server on PATH is named, and passed over."""
    monkeypatch.setattr("minuet.embedded.valkey.package_folder", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64'\n")
    old.chmod(0o755)

    with pytest.raises(ServerNotFound, match=r"redis-server is version 6\.2.*dev.*extra.*MINUET_REDIS_URL"):
        await EmbeddedValkey(tmp_path / "state").start()


async def test_a_server_on_path_is_used_where_the_wheel_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a platform without wheels the machine's own server does."""
    from minuet.embedded.valkey import find_valkey

    wheel = find_valkey(None)
    (tmp_path / "redis-server").symlink_to(wheel.path)
    monkeypatch.setattr("minuet.embedded.valkey.package_folder", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    async with EmbeddedValkey(tmp_path / "state", durable=False) as server:
        assert server.running
