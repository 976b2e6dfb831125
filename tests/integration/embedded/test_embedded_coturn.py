"""The embedded coturn, as `minuet dev` and the tests use it: a real server each time."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from minuet.commands.dev import with_turn
from minuet.embedded.coturn import EmbeddedCoturn, TurnAccess, coturn_if_there_is
from minuet.embedded.errors import ServerNotFound
from minuet.embedded.processes import name_of
from minuet.settings import load
from minuet.turn import ice_servers, relay_ranges, with_ip_privacy
from tests.fixtures.tools import find_tool
from tests.fixtures.turn import client_with
from tests.fixtures.turn_client import TurnRefused
from tests.fixtures.waiting import until

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
ROOT = os.geteuid() == 0


@pytest.fixture(autouse=True)
def coturn_is_installed() -> None:
    find_tool("turnserver")


async def test_its_settings_are_all_that_hidden_addresses_need(tmp_path: Path) -> None:
    """Servers for clients, the ranges for the filter, `relay` for every intent."""
    async with EmbeddedCoturn(tmp_path) as server:
        settings = with_ip_privacy(with_turn(load({}), server.access))

        assert ice_servers(settings).turn is not None
        assert relay_ranges(settings).servers
        assert all(policy.hides_addresses for policy in settings.intents.values())


async def test_secrets_are_new_with_each_start(tmp_path: Path) -> None:
    """A credential of an earlier run opens nothing."""
    server = EmbeddedCoturn(tmp_path)
    async with server:
        first = server.access
    async with server:
        second = server.access

    assert first.secret != second.secret
    assert first.admin_password != second.admin_password


async def test_a_relay_reaches_this_machine_and_nothing_else(tmp_path: Path) -> None:
    """Both people sit here; what this machine could reach is none of their business."""
    async with EmbeddedCoturn(tmp_path) as server:
        client = client_with(server.access.secret, server.port)
        await asyncio.to_thread(client.allocate)
        await asyncio.to_thread(client.permit, "127.0.0.1")
        for peer in ("10.0.0.1", "169.254.169.254", "192.0.2.1", "127.0.0.2"):
            with pytest.raises(TurnRefused) as refusal:
                await asyncio.to_thread(client.permit, peer)
            assert refusal.value.code == 403
        client.close()


@NEEDS_PROC
async def test_no_secret_shows_in_arguments_or_to_other_users(tmp_path: Path) -> None:
    """The configuration is a private file of the server's."""
    async with EmbeddedCoturn(tmp_path) as server:
        arguments = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode()
        file = tmp_path / "coturn" / "turnserver.conf"

        assert server.access.secret not in arguments
        assert server.access.admin_password not in arguments
        assert file.stat().st_mode & 0o077 == 0
        if ROOT:
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0


async def test_a_relay_can_be_used_again_after_a_kill(tmp_path: Path) -> None:
    """The same object starts it anew."""
    server = EmbeddedCoturn(tmp_path)
    await server.start()
    await server.kill()
    await server.start()
    client = client_with(server.access.secret, server.port)
    relayed = await asyncio.to_thread(client.allocate)
    await server.stop()
    client.close()

    assert relayed[0] == "127.0.0.1"
    assert not server.running


PROGRAM = """
import asyncio, pathlib, sys
from minuet.embedded.coturn import EmbeddedCoturn
async def main():
    server = EmbeddedCoturn(pathlib.Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_it_dies_with_a_program_that_is_killed(tmp_path: Path) -> None:
    """However that one ends: nobody is left with an open relay."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    pid = int(await program.stdout.readline())
    there = name_of(pid)
    program.kill()
    await program.wait()
    await until(lambda: not name_of(pid), 60)

    assert there


async def test_where_none_is_installed_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`minuet dev` goes on without, and prints that."""
    monkeypatch.setattr("minuet.embedded.coturn.on_path", lambda *_: iter(()))
    async with coturn_if_there_is(tmp_path) as found:
        assert isinstance(found, ServerNotFound)
        assert "apt install coturn" in str(found)


async def test_an_old_one_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is another program of that name, and one that does not run."""
    old, other = tmp_path / "old", tmp_path / "other"
    old.write_text("#!/bin/sh\necho 4.4.5.4\n")
    other.write_text("#!/bin/sh\necho 'turnserver of somebody else'\n")
    for program in (old, other):
        program.chmod(0o755)
    programs = [old, other, tmp_path / "none"]
    monkeypatch.setattr("minuet.embedded.coturn.on_path", lambda *_: iter(programs))
    async with coturn_if_there_is(tmp_path / "state") as found:
        assert isinstance(found, ServerNotFound)


async def test_dev_uses_it_and_says_so(tmp_path: Path) -> None:
    """In the lines that a newcomer reads, and for the length of the block."""
    async with coturn_if_there_is(tmp_path) as found:
        assert isinstance(found, TurnAccess)
        assert found.urls[0].startswith("turn:127.0.0.1:")
        assert found.urls[0].endswith("?transport=udp")
