"""Each service of docker-compose.yml starts with exactly the settings that the file gives it."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.mark.parametrize("name", ["hub", "matchmaker", "worker", "turn-worker"])
async def test_a_service_starts_with_what_compose_gives_it(
    name: str, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    """No role needs a setting that its container does not have."""
    values = {
        "MINUET_REDIS_URL": redis_url,
        "MINUET_DATABASE_URL": database_url,
        "MINUET_AUTH_SECRET": "s" * 40,
        "MINUET_ALLOWED_ORIGINS": "https://calls.example.org",
        "MINUET_TRUSTED_PROXIES": "",
        # Without the profile `turn` these are empty, as the file has them.
        "MINUET_TURN_URLS": "",
        "MINUET_TURN_SECRET": "",
        "MINUET_TURN_RELAY_ADDRESSES": "",
        "MINUET_TURN_RELAY_PORTS": "49160-49359",
        "MINUET_TURN_ADMIN": "127.0.0.1:5766",
        "MINUET_TURN_ADMIN_PASSWORD": "p" * 20,
    }
    service = SERVICES[name]
    environment = {key: values[key] for key in service["environment"]}
    ports = {"MINUET_PORT": "0", "MINUET_ADMIN_PORT": "0"}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "minuet",
        *map(_with_defaults, service["command"]),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment, **ports},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None

    async with asyncio.timeout(30):
        said = [line.decode().split()[0] async for line in _until(child.stdout, b"admin")]

    assert said == (["public", "admin"] if name == "hub" else ["admin"])
    child.terminate()
    assert await asyncio.wait_for(child.wait(), 15) == 0


def _with_defaults(argument: str) -> str:
    """What compose makes of `${NAME:-default}` where nothing is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", argument)


async def _until(stream: asyncio.StreamReader, last: bytes) -> AsyncIterator[bytes]:
    while line := await stream.readline():
        yield line
        if line.startswith(last):
            return
