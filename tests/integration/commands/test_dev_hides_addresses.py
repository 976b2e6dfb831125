"""What `minuet dev` makes of a coturn on this machine, and what it says where there is none."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from minuet.commands.dev import turn_server
from minuet.settings import load
from minuet.turn import with_ip_privacy
from tests.fixtures.tools import find_tool

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")

START_S = 60.0


@asynccontextmanager
async def dev(folder: Path, **settings: str) -> AsyncIterator[dict[str, str]]:
    """The lines of its welcome by their first word, while it runs."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINUET_")}
    with (folder / "dev.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "minuet", "dev"),
            env={
                **inherited,
                "MINUET_STATE_DIR": str(folder / "state"),
                "MINUET_PORT": "0",
                "MINUET_ADMIN_PORT": "0",
                **settings,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert child.stdout is not None
    welcome: dict[str, str] = {}
    try:
        async with asyncio.timeout(START_S):
            while "Ctrl-C" not in welcome:
                line = (await child.stdout.readline()).decode()
                assert line, (folder / "dev.log").read_text()
                word, _, rest = line.strip().partition(" ")
                welcome[word] = rest.strip()
        yield welcome
    finally:
        child.terminate()
        await asyncio.wait_for(child.wait(), 30)


async def readiness(welcome: dict[str, str]) -> list[str]:
    async with aiohttp.ClientSession() as http, http.get(welcome["metrics"].split()[-1]) as answer:
        degraded: list[str] = (await answer.json())["degraded"]
    return degraded


@NEEDS_PROC
async def test_dev_starts_a_coturn_that_is_installed_and_takes_it_along(tmp_path: Path) -> None:
    """Addresses are hidden without a setting, and nothing of it is left behind."""
    find_tool("turnserver")
    async with dev(tmp_path) as welcome:
        degraded = await readiness(welcome)
        running = coturns_in(tmp_path)

    assert welcome["privacy"].startswith("on:")
    assert degraded == []
    assert len(running) == 1
    assert coturns_in(tmp_path) == []


async def test_without_coturn_dev_says_that_addresses_show_and_what_to_install(tmp_path: Path) -> None:
    """And goes on: two tabs on one machine have nothing to hide."""
    async with dev(tmp_path, PATH=str(tmp_path)) as welcome:
        degraded = await readiness(welcome)

    assert welcome["privacy"].startswith("off: no coturn")
    assert "apt install coturn" in welcome["privacy"]
    assert degraded == ["turn"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "off: clients of 0.0.0.0"),  # noqa: S104 - nothing is bound here
        ({"intents": {"dating": {"ip_privacy": "off"}, "friends": {"ip_privacy": "off"}}}, "off, as"),
        (
            {
                "turn_urls": ["turn:turn.example:3478"],
                "turn_secret": "s" * 20,
                "turn_relay_addresses": ["198.51.100.7"],
            },
            "as the settings say",
        ),
    ],
    ids=["phones could not reach it", "nothing is to be hidden", "there is one already"],
)
async def test_no_coturn_is_started_where_it_would_not_help(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    """What the operator set stands, and whoever listens for phones is told what to do."""
    given = load({}, settings)
    async with turn_server(given, tmp_path) as (found, privacy):
        assert found == given
        assert privacy.startswith(said)
        assert not (tmp_path / "coturn").exists()
        with_ip_privacy(found)


def coturns_in(folder: Path) -> list[str]:
    """Process ids of servers that run in the state folder."""
    wanted = os.fsencode(folder / "state" / "coturn")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(os.fsencode(process / "cwd")) == wanted:
                found.append(process.name)
        except OSError:
            continue  # gone meanwhile, or not ours to look at
    return found
