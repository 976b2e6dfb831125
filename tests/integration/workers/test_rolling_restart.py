"""SIGHUP: every worker is replaced, and nobody notices more than a reconnect."""

import asyncio
from pathlib import Path

from tests.fixtures.deployment import SHORT_CALLS, People
from tests.integration.workers.crew import CrewOf
from tests.integration.workers.knocking import knocking


async def test_nobody_is_cut_off_while_all_workers_are_replaced(crew_of: CrewOf, people: People) -> None:
    """Under load: no connection is refused or reset, and sockets end with 4001 after they were told to come back."""
    crew = await crew_of(2)
    before = await crew.pids()
    clients = await asyncio.gather(*(people.online(crew.url) for _ in range(30)))

    async with knocking(crew.url) as knocks:
        crew.hang_up()
        codes = await asyncio.gather(*(client.wait_closed(60) for client in clients))
        returned = await asyncio.gather(
            *(client.resume(client.account["access_token"]) for client in clients)
        )
        await crew.until_rolled(before)

    assert knocks.failures == []
    assert knocks.answered > 100
    assert set(codes) == {4001}
    assert {message["type"] for message in returned} <= {"session.resumed", "session.ready"}
    assert await crew.metric("minuet_rolling_restarts_total", result="done") == 1


async def test_what_does_not_start_replaces_nobody(crew_of: CrewOf, people: People, tmp_path: Path) -> None:
    """A broken configuration breaks the rolling restart off; those who serve go on, and a mended one is taken."""
    crew = await crew_of(2)
    before = await crew.pids()
    client = await people.online(crew.url)

    (tmp_path / "minuet.toml").write_text("no_such_setting = 1\n")
    crew.hang_up()
    async with asyncio.timeout(60):
        while not await crew.metric("minuet_rolling_restarts_total", result="broken_off"):
            await asyncio.sleep(0.1)
    still = await crew.pids()
    await client.request("presence.set", {"away": False})
    (tmp_path / "minuet.toml").write_text(SHORT_CALLS)
    crew.hang_up()
    await crew.until_rolled(before)

    assert still == before
    assert await client.wait_closed() == 4001
