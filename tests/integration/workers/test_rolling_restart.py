"""SIGHUP: every worker is replaced, and nobody notices more than a reconnect."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from loadtests.swarm.client import Client
from tests.compat.talking import begin, meet, part, trickle
from tests.e2e.unhurried import UNHURRIED
from tests.fixtures.deployment import SHORT_CALLS, People
from tests.fixtures.waiting import until
from tests.integration.workers.crew import TIMEOUT_S, CrewOf
from tests.integration.workers.knocking import knocking


@dataclass
class Wanderer:
    """Somebody who comes back whenever they are sent away, as an app does."""

    client: Client
    codes: list[int | None] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    @property
    def is_back(self) -> bool:
        """Whether they were sent away, as everybody is when all workers are replaced, and were let in as often."""
        return 0 < len(self.codes) == len(self.answers)

    async def wander(self) -> None:
        """Until cancelled."""
        while True:
            self.codes.append(await self.client.wait_closed(600))
            drain = await self.client.wait_for("session.drain")
            await asyncio.sleep(drain["reconnect_after_ms"] / 1000)
            answer = await self.client.resume(self.client.account["access_token"])
            self.answers.append(answer["type"])


async def test_nobody_is_cut_off_while_all_workers_are_replaced(crew_of: CrewOf, people: People) -> None:
    """Under load: no connection is refused or reset, sockets end with 4001, and every session goes on where it was."""
    crew = await crew_of(2)
    before = await crew.pids()
    wanderers = [Wanderer(await people.online(crew.url)) for _ in range(30)]
    wandering = [asyncio.create_task(wanderer.wander()) for wanderer in wanderers]

    async with knocking(crew.url) as knocks:
        crew.hang_up()
        await crew.until_rolled(before)
        await until(lambda: all(wanderer.is_back for wanderer in wanderers), TIMEOUT_S)
    for task in wandering:
        task.cancel()
    answered = await asyncio.gather(
        *(wanderer.client.request("presence.set", {"away": False}) for wanderer in wanderers)
    )

    assert knocks.failures == []
    assert knocks.answered > 100
    assert {code for wanderer in wanderers for code in wanderer.codes} == {4001}
    # Handed over from the worker that left to whichever let them in: nothing is missing, nothing starts anew.
    assert {answer for wanderer in wanderers for answer in wanderer.answers} == {"session.resumed"}
    assert len(answered) == 30
    # It is done when the last of them has ended, which may have been seen before.
    await until(partial(crew.metric, "minuet_rolling_restarts_total", result="done"), TIMEOUT_S)


async def test_calls_outlive_the_workers_they_began_on(crew_of: CrewOf, people: People) -> None:
    """Everybody's worker is replaced in mid-call: the calls go on, and end when somebody hangs up, and not before."""
    crew = await crew_of(2, "matchmaker", "worker", config=UNHURRIED)
    before = await crew.pids()
    calls = []
    for _ in range(4):
        her, him = await people.online(crew.url, "female"), await people.online(crew.url, "male")
        call_id = await meet(her, him)
        await begin(her, him, call_id)
        calls.append((her, him, call_id))
    wanderers = [Wanderer(client) for her, him, _ in calls for client in (her, him)]
    wandering = [asyncio.create_task(wanderer.wander()) for wanderer in wanderers]

    crew.hang_up()
    await crew.until_rolled(before)
    await until(lambda: all(wanderer.is_back for wanderer in wanderers), TIMEOUT_S)
    for task in wandering:
        task.cancel()
    ended = [m for wanderer in wanderers for m in wanderer.client.inbox if m["type"] == "call.ended"]

    assert ended == []
    assert {answer for wanderer in wanderers for answer in wanderer.answers} == {"session.resumed"}
    for her, him, call_id in calls:
        await trickle(her, him, call_id, "self")
        await part(her, him, call_id)


async def test_what_does_not_start_replaces_nobody(crew_of: CrewOf, people: People, tmp_path: Path) -> None:
    """A broken configuration breaks the rolling restart off; those who serve go on, and a mended one is taken."""
    crew = await crew_of(2)
    before = await crew.pids()
    client = await people.online(crew.url)

    (tmp_path / "minuet.toml").write_text("no_such_setting = 1\n")
    crew.hang_up()
    await until(partial(crew.metric, "minuet_rolling_restarts_total", result="broken_off"), TIMEOUT_S)
    still = await crew.pids()
    await client.request("presence.set", {"away": False})
    (tmp_path / "minuet.toml").write_text(SHORT_CALLS)
    crew.hang_up()
    await crew.until_rolled(before)

    assert still == before
    assert await client.wait_closed() == 4001
