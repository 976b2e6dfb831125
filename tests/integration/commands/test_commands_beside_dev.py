"""`minuet dev` and the commands that people type beside it, as a newcomer would."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.swarm.client import Client
from tests.fixtures.deployment import People

START_S = 60.0


class Dev:
    """A running `minuet dev` on free ports, with its own state folder."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **os.environ,
            "MINUET_STATE_DIR": str(folder / "state"),
            "MINUET_PORT": "0",
            "MINUET_ADMIN_PORT": "0",
        }
        self.folder = folder
        self.url = ""

    async def start(self) -> None:
        with (self.folder / "dev.log").open("wb") as log:
            self.child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "minuet",
                "dev",
                env=self.environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self.child.stdout is not None
        async with asyncio.timeout(START_S):
            while not self.url:
                line = (await self.child.stdout.readline()).decode()
                assert line, (self.folder / "dev.log").read_text()
                if line.split()[:1] == ["demo"]:
                    self.url = line.split()[1].rstrip("/")

    async def run(self, *command: str) -> tuple[int, str]:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "minuet",
            *command,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(child.communicate(), START_S)
        assert child.returncode is not None
        return child.returncode, output.decode()

    async def stop(self) -> int:
        self.child.send_signal(signal.SIGINT)
        return await asyncio.wait_for(self.child.wait(), START_S)


@pytest.fixture
async def dev(tmp_path: Path) -> AsyncIterator[Dev]:
    running = Dev(tmp_path)
    await running.start()
    yield running
    if running.child.returncode is None:
        await running.stop()


async def test_commands_find_the_servers_of_a_running_dev(dev: Dev, people: People) -> None:
    """An administrator is made and a token printed without naming any server; both work at once."""
    account = await people.account(dev.url)

    status, _ = await dev.run("create-admin", account["email"])
    assert status == 0
    status, token = await dev.run("token", account["email"])
    assert status == 0

    headers = {"Authorization": f"Bearer {token.strip()}"}
    async with people.http.get(f"{dev.url}/api/v1/admin/presence", headers=headers) as response:
        report = await response.json()
    assert response.status == 200
    assert report["data"]["nodes"][0]["role"] == "all-in-one"
    client: Client = people.client(dev.url)
    assert (await client.start(token.strip()))["user_id"] == account["user"]["id"]
    status, said = await dev.run("create-admin", "nobody@example.org")
    assert status == 1
    assert "register it first" in said
    assert (await dev.run("migrate", "status"))[1].strip().endswith("up to date")


async def test_ctrl_c_leaves_nothing_but_the_data(dev: Dev, people: People) -> None:
    """Exit status 0, no address left behind; accounts are still there after the next start."""
    account = await people.account(dev.url)

    assert await dev.stop() == 0
    assert not (dev.folder / "state" / "running.json").exists()
    again = Dev(dev.folder)
    await again.start()
    login = {"email": account["email"], "password": account["password"]}
    async with people.http.post(f"{again.url}/api/v1/auth/login", json=login) as response:
        assert response.status == 200
    async with people.http.get(
        f"{again.url}/api/v1/auth/me", headers={"Authorization": f"Bearer {account['access_token']}"}
    ) as response:
        assert response.status == 200
    assert await again.stop() == 0


async def test_a_second_dev_in_the_same_folder_is_refused_in_one_line(dev: Dev) -> None:
    """Not a traceback, and the first goes on."""
    status, said = await dev.run("dev")

    assert status == 2
    assert "in use" in said
    assert "Traceback" not in said


async def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    """No server, no secret, a typo: what to do, and exit status 2."""
    nowhere = Dev(tmp_path)
    status, said = await nowhere.run("serve")
    assert (status, "MINUET_REDIS_URL" in said, "Traceback" in said) == (2, True, False)

    nowhere.environment["MINUET_PROT"] = "1"
    status, said = await nowhere.run("check-config")
    assert (status, "MINUET_PROT" in said, "Traceback" in said) == (2, True, False)
