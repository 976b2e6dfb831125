"""The swarm: all the people of a run, in one process, on real sockets.

`run` lets them live, `settle` brings them home, `end` closes their sessions, `look_again` signs each of them in once more
and says what the server thinks they are doing: nothing, it should be.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Final

from tests.chaos.history import NOBODY, SLOW, History
from tests.chaos.swarm_device import Device, Message
from tests.chaos.swarm_person import Person
from tests.chaos.swarm_world import Habits, World, settle_people

__all__ = ["Habits", "Swarm", "World", "settle_people"]

_QUIET_S: Final = 2.0
_LOOKS_AT_ONCE: Final = 50
_BEAT_S: Final = 0.1
_SLOW_MS: Final = 300.0


class Swarm:
    """People with habits in a world; the same seed gives the same people."""

    def __init__(
        self,
        world: World,
        seed: int,
        people: int | None = None,
        *,
        habits: Habits | None = None,
        history: History | None = None,
        arrive_s: float = 2.0,
    ) -> None:
        self.world = world
        self.seed = seed
        self.history = history or History()
        self._arrive_s = arrive_s
        self._rng = random.Random(f"{seed}:swarm")
        self._habits = habits or Habits()
        number = len(world.people) if people is None else people
        self.people = [self._person(who) for who in range(number)]
        self._lives: list[asyncio.Task[None]] = []

    async def run(self, until: float | asyncio.Event) -> None:
        """Lets them live, for seconds or until something happens. They go on living until `settle`."""
        if not self._lives:
            self._lives = [
                asyncio.create_task(person.live(self._rng.random() * self._arrive_s))
                for person in self.people
            ]
            self._lives.append(asyncio.create_task(self._watch_ourselves()))
        if isinstance(until, asyncio.Event):
            await until.wait()
        else:
            await asyncio.sleep(until)

    async def cut(self, share: float) -> int:
        """Aborts the sockets of a share of the people, all in one moment; says of how many."""
        chosen = self._rng.sample(self.people, round(len(self.people) * share))
        self.history.fault("sockets cut", f"{len(chosen)} people")
        for person in chosen:
            person.cut()
        return len(chosen)

    async def settle(self, timeout_s: float = 45.0) -> bool:
        """Everybody leaves what they are in; whether all could. Then waits for what may still be said of it."""
        for person in self.people:
            person.going_home = True
        tasks = {asyncio.create_task(person.settle()): person for person in self.people}
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            person = tasks[task]
            stuck = {"call": person.call and person.call.id, "waiting": person.waiting}
            self.history.add(person.who, "note", {"what": "did not come home", **stuck})
            task.cancel()
        for task in tasks:
            if not task.cancelled() and task.done() and task.exception() is not None:
                raise RuntimeError("the swarm has a bug") from task.exception()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(_QUIET_S)
        return not late

    async def end(self) -> None:
        """Ends every session, and everything that the people do."""
        for life in self._lives:
            life.cancel()
        results = await asyncio.gather(*self._lives, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise RuntimeError("the swarm has a bug") from result
        await asyncio.gather(*(person.end() for person in self.people))

    async def look_again(self, timeout_s: float = 15.0) -> Mapping[int, Message]:
        """Each signs in once more, on the same device; the snapshots by person, without those who were not let in."""
        looks = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def look(who: int) -> Message | None:
            async with looks:
                visitor = _Visitor()
                device = self._device(who)
                device.owner = visitor
                running = asyncio.create_task(device.run())
                try:
                    async with asyncio.timeout(timeout_s):
                        return await visitor.snapshot
                except TimeoutError:
                    return None
                finally:
                    device.end()
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)

        whos = [person.who for person in self.people]
        snapshots = await asyncio.gather(*map(look, whos))
        return {who: snapshot for who, snapshot in zip(whos, snapshots, strict=True) if snapshot is not None}

    def counts(self) -> Counter[str]:
        """What really happened, to prove that a run was one."""
        counts: Counter[str] = Counter()
        calls_live: set[str] = set()
        calls_found: set[str] = set()
        for entry in self.history:
            if entry.kind == "heard":
                if entry.type == "call.state" and entry.body["state"] == "live":
                    calls_live.add(entry.call)
                elif entry.type == "match.found":
                    calls_found.add(entry.call)
                elif entry.type == "error":
                    counts[f"refused {entry.body['code']}"] += 1
                elif entry.type in (
                    "session.ready",
                    "session.resumed",
                    "chat.message",
                    "queue.left",
                    "call.ended",
                ):
                    counts[f"heard {entry.type}"] += 1
            elif entry.kind == "sent" and entry.type == "session.resume":
                counts["resumes tried"] += 1
            elif entry.kind == "shut" and entry.data["by"] == "them":
                counts[f"closed {entry.data['code']}"] += 1
            elif entry.kind == "note":
                counts[f"note {entry.data.get('what', 'not let in')}"] += 1
        counts["people"] = len(self.people)
        counts["calls found"] = len(calls_found)
        counts["calls live"] = len(calls_live)
        return counts

    async def _watch_ourselves(self) -> None:
        """Notes when this process had no time to hear what it was told: nobody else is to be blamed for that."""
        while True:
            before_ms = self.history.now_ms()
            await asyncio.sleep(_BEAT_S)
            late_ms = self.history.now_ms() - before_ms - _BEAT_S * 1000
            if late_ms > _SLOW_MS:
                self.history.add(NOBODY, "note", {"what": SLOW, "ms": round(late_ms)})

    def _person(self, who: int) -> Person:
        return Person(who, self._device(who), self._habits, f"{self.seed}:{who}", self.history)

    def _device(self, who: int) -> Device:
        rng = random.Random(f"{self.seed}:{who}:device")
        codec = "json" if rng.random() < self._habits.codec_json else "msgpack"
        return Device(who, self.world.people[who].token, self.world.addresses, codec, rng, self.history)


class _Visitor:
    """Signs in to see what is there."""

    is_urgent = False

    def __init__(self) -> None:
        self.snapshot: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def ready(self, snapshot: Message) -> None:
        if not self.snapshot.done():
            self.snapshot.set_result(snapshot)

    def resumed(self) -> None:
        """Never asked for."""

    def hear(self, type_: str, data: Message) -> None:
        """Nothing is expected."""
