"""One person with one device: comes, waits, talks, stays in touch, writes, goes away, comes again.

A script driven by random numbers of its own, so that a seed gives the same people; what they meet is the servers' doing.
Knows what it is told and nothing else, and behaves as well as a good app: it tries again what may be tried again, under
a new id, and takes a snapshot for the truth.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.chaos.history import History
from tests.chaos.swarm_call import Conversation, Plan, draw_plan
from tests.chaos.swarm_device import Backoff, Device, Disconnected, Message, Refused
from tests.chaos.swarm_world import Habits

_CHATS_KEPT: Final = 5
_NO_PLAN: Final = Plan(False, False, None, False, False, False, None, False, False, False, False, False)


class Person:
    """Lives from `live` on, and comes home with `settle`."""

    def __init__(self, who: int, device: Device, habits: Habits, seed: str, history: History) -> None:
        self.who = who
        self._device = device
        self._habits = habits
        # Apart: how often something has to be tried again must not change what is planned.
        self._rng = random.Random(f"{seed}:life")
        self._plans = random.Random(f"{seed}:plans")
        self._pauses = random.Random(f"{seed}:pauses")
        self._history = history
        self._changed = asyncio.Event()
        self._works: set[asyncio.Task[None]] = set()
        self._begun = False
        """Whether the session that we know of has told its snapshot."""
        self._fresh = False
        """Whether this app was just started, and remembers no call."""
        self._away = False
        self._idle_only = self._rng.random() < habits.idles
        self.waiting: str | None = None
        """The intent that we wait for."""
        self.call: Conversation | None = None
        self.going_home = False
        self._connections: deque[str] = deque(maxlen=_CHATS_KEPT)
        self._outgoing: dict[str, deque[tuple[str, str]]] = {}
        self._said = 0
        device.owner = self

    # For the device.

    @property
    def is_urgent(self) -> bool:
        return self.call is not None and self.call.is_urgent

    def ready(self, snapshot: Message) -> None:
        self._begun = True
        view, ticket = snapshot.get("call"), snapshot.get("ticket")
        self.waiting = ticket["intent"] if ticket else None
        self._away = snapshot["presence"] == "away"
        if self.call is not None and (view is None or view["call_id"] != self.call.id):
            self.call.finish()
            self.call = None
        if view is not None and view["state"] != "ended":
            if self.call is None:
                # Numbers rise over the call's whole life, also over an app that forgot its own.
                first = int(time.time()) if self._fresh else 0
                self.call = Conversation(self, self._plan(), view, first_number=first)
                self.call.restore(view)
                if self._fresh:
                    self.call.rejoin()
                elif view["state"] == "proposed":
                    self.call.begin()
            else:
                self.call.restore(view)
            if self.going_home:
                self.call.go_home()
        self._fresh = False
        self._changed.set()

    def resumed(self) -> None:
        if self.call is not None:
            self.call.reattached()

    def hear(self, type_: str, data: Message) -> None:
        if type_ == "match.found":
            self._matched(data)
        elif type_ == "queue.left":
            self.waiting = None
        elif type_ == "connection.made":
            self._keep_in_touch(data["connection_id"])
        elif self.call is not None and data.get("call_id") == self.call.id:
            self._hear_of_call(type_, data)
        self._changed.set()

    # For a conversation.

    async def ask(self, type_: str, data: Message, wanted: Callable[[], bool]) -> Message | None:
        backoff = Backoff(self._pauses)
        while wanted():
            try:
                return await self._device.request(type_, data)
            except Refused as refused:
                if not refused.retryable:
                    return None
                pause_s = max(backoff.next_s(urgent=self.is_urgent), refused.retry_after_s)
            except Disconnected:
                pause_s = backoff.next_s(urgent=self.is_urgent)
            await asyncio.sleep(pause_s)
        return None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._worked)

    def gives_up(self, call_id: str) -> None:
        self._history.add(self.who, "note", {"what": "did not come home", "call": call_id, "waiting": None})
        if self.call is not None and self.call.id == call_id:
            self.call.finish()
            self.call = None
        self._changed.set()

    # Its life.

    async def live(self, after_s: float) -> None:
        """Comes after a while, and lives on until cancelled or told to go home."""
        await asyncio.sleep(after_s)
        self.spawn(self._device.run())
        while not self._begun:
            await self._wait(5.0)
        if self._habits.cuts_every_s:
            self.spawn(self._lose_network_now_and_then())
        while not self.going_home and not self._idle_only:
            if self.call is not None:
                await self._wait(1.0)
            elif self.waiting is not None:
                await self._wait_for_match()
            else:
                await asyncio.sleep(self._rng.uniform(*self._habits.rests_s))
                if not self.going_home and self.call is None and self.waiting is None:
                    await self._do_something()

    async def settle(self) -> None:
        """Leaves whatever it is in, and returns when there is nothing left; the session stays."""
        self.going_home = True
        self._changed.set()
        while True:
            if self.call is not None:
                self.call.go_home()
                await self._wait(0.5)
            elif self.waiting is not None:
                intent = self.waiting
                # Asked once more: the same ticket has to be there still, or word of its end has to be on its way.
                await self._join(intent, lambda: self.waiting is not None and self.call is None)
                await self._leave()
            elif self._away:
                await self._set_away(False)
            elif not self._begun or any(self._outgoing.values()):
                await self._wait(0.5)
            elif await self.ask("queue.leave", {}, lambda: self.call is None) is not None:
                # Said even where we wait for nothing: a join may have been done whose answer never came.
                return
            else:
                await self._wait(1.0)

    def cut(self) -> None:
        """Loses the network."""
        self._device.cut()

    async def end(self) -> None:
        """Ends the session, and all work for it."""
        self._device.end()
        await asyncio.sleep(0)
        works = tuple(self._works)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _do_something(self) -> None:
        habits, chance = self._habits, self._rng.random()
        if self._connections and self._rng.random() < habits.chats:
            self._say(self._rng.choice(tuple(self._connections)))
        if chance < habits.reloads:
            self._fresh, self._begun = True, False
            self._device.forget()
            await self._until_begun()
        elif chance < habits.reloads + habits.leaves:
            self._begun = False
            # Once: whether it was heard or not, this app is gone, and comes again as another.
            asked = iter((True,))
            await self.ask("session.end", {}, lambda: next(asked, False))
            self._device.forget()
            await self._until_begun()
        elif chance < habits.reloads + habits.leaves + habits.goes_away:
            await self._set_away(not self._away)
        else:
            intent = "friends" if self._rng.random() < habits.friends else "dating"
            await self._join(intent, lambda: not self.going_home and self.call is None)

    async def _join(self, intent: str, wanted: Callable[[], bool]) -> None:
        joined = await self.ask("queue.join", {"intent": intent}, wanted)
        # The match may have come with the answer.
        if joined is not None and self.call is None:
            self._away = False
            self.waiting = intent

    async def _wait_for_match(self) -> None:
        patience_s = self._rng.uniform(*self._habits.patience_s)
        until = time.monotonic() + patience_s
        goes_away = self._rng.random() < self._habits.goes_away
        while self.waiting is not None and self.call is None and not self.going_home:
            left_s = until - time.monotonic()
            if left_s <= 0:
                await self._leave()
                return
            if goes_away and left_s < patience_s / 2:
                goes_away = False
                await self._set_away(True)
                await asyncio.sleep(self._rng.uniform(0.2, 2.0))
                await self._set_away(False)
            await self._wait(left_s)

    async def _leave(self) -> None:
        left = await self.ask("queue.leave", {}, lambda: self.waiting is not None and self.call is None)
        if left is not None and self.call is None:
            self.waiting = None
        elif self.waiting is not None:
            # Refused: matched this moment. Word of it is on its way.
            await self._wait(1.0)

    async def _set_away(self, away: bool) -> None:
        if await self.ask("presence.set", {"away": away}, lambda: self.call is None or not away) is not None:
            self._away = away

    def _matched(self, found: Message) -> None:
        if self.call is not None and self.call.id == found["call_id"]:
            return
        if self.call is not None:
            self.call.finish()
        self.waiting = None
        self.call = Conversation(self, self._plan(), found)
        if self.going_home:
            self.call.go_home()
        else:
            self.call.begin()

    def _hear_of_call(self, type_: str, data: Message) -> None:
        call = self.call
        assert call is not None
        call.hear(type_, data)
        if call.over:
            self.call = None
            self.waiting = call.intent if call.requeued else None

    def _plan(self) -> Plan:
        return _NO_PLAN if self.going_home else draw_plan(self._plans, self._habits)

    # Staying in touch.

    def _keep_in_touch(self, connection_id: str) -> None:
        if connection_id not in self._connections:
            self._connections.append(connection_id)
            self._say(connection_id)

    def _say(self, connection_id: str) -> None:
        """Says something; one message after the other, so that they arrive in the order in which they were said."""
        self._said += 1
        line = self._outgoing.setdefault(connection_id, deque())
        line.append((f"{self.who}-{self._said}", f"message {self._said} of {self.who}"))
        if len(line) == 1:
            self.spawn(self._deliver(connection_id, line))

    async def _deliver(self, connection_id: str, line: deque[tuple[str, str]]) -> None:
        while line:
            client_id, body = line[0]
            data = {"connection_id": connection_id, "client_id": client_id, "body": body}
            await self.ask("chat.send", data, lambda: True)
            line.popleft()
        self._changed.set()

    # Bits.

    async def _lose_network_now_and_then(self) -> None:
        while not self.going_home:
            await asyncio.sleep(self._pauses.expovariate(1 / self._habits.cuts_every_s))
            if not self.going_home:
                self._device.cut()

    async def _until_begun(self) -> None:
        while not self._begun:
            await self._wait(5.0)

    async def _wait(self, seconds: float) -> None:
        """Until something changed, or so long."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._works.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._history.add(
                self.who, "note", {"what": "a bug of the swarm", "error": repr(task.exception())}
            )
