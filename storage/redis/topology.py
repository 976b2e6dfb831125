"""The newest slot map of a cluster, for whoever sends something there.

Decides whom to ask for it and how often, and tells who wants to know when it has changed. Nothing runs by itself: the map
is asked for again when somebody met a redirection or a node that does not answer. Each process asks every primary for
something once a second (`shards.py`), so that nothing stays unnoticed for longer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import structlog
from redis.exceptions import RedisError, ResponseError

from storage.redis.slots import Address, SlotMap, key_slot, read_slot_map

log = structlog.get_logger(__name__)

ASK_TIMEOUT_S: Final = 0.5
"""For a node that accepts and does not answer; the next is asked then."""
LEAST_PAUSE_S: Final = 0.05
"""Between two askings: many commands meet the same trouble at once."""

AskSlots = Callable[[Address], Awaitable[Sequence[Any]]]
"""CLUSTER SLOTS of one node."""


class Topology:
    """Who serves which slot, by the newest that we have heard."""

    def __init__(self, seeds: Sequence[Address], ask: AskSlots) -> None:
        self._seeds = tuple(seeds)
        self._ask = ask
        self._map = SlotMap()
        self._hooks: list[Callable[[], None]] = []
        self._refreshing: asyncio.Task[bool] | None = None
        self._asked_at = float("-inf")
        self._turn = 0

    @property
    def map(self) -> SlotMap:
        """Empty until somebody has asked."""
        return self._map

    @property
    def seeds(self) -> tuple[Address, ...]:
        return self._seeds

    def primary_of(self, key: int | str | bytes) -> Address | None:
        """Who serves a key, or a slot given by its number; None where nobody is known to."""
        return self._map.primary_of(key if isinstance(key, int) else key_slot(key))

    def on_change(self, hook: Callable[[], None]) -> None:
        """Has `hook` called whenever a slot has another primary, within the event loop; must not block or raise."""
        self._hooks.append(hook)

    def moved(self, slot: int, to: Address) -> None:
        """Asks for the map again after a MOVED, whoever it named first: one slot seldom moves alone.

        Nothing is known of the slot until that is answered, so that a thousand slots that move are learnt at once.
        """
        if self._map.primary_of(slot) != to:
            self.refresh_soon(first=to)

    async def refresh(self, *, avoid: Address | None = None) -> bool:
        """Asks for the map, any node but `avoid` if possible; those who want it at the same time share one asking.

        False where nobody answered: the map stays as it was.
        """
        return await asyncio.shield(self.refresh_soon(avoid=avoid))

    def refresh_soon(
        self, *, first: Address | None = None, avoid: Address | None = None
    ) -> "asyncio.Task[bool]":
        """As `refresh`, for whoever does not wait."""
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh(first, avoid))
            self._refreshing.add_done_callback(self._refreshed)
        return self._refreshing

    async def aclose(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            # Waited for, and not awaited: whoever cancels this very task must not be taken for what was cancelled here.
            await asyncio.wait({self._refreshing})

    async def _refresh(self, first: Address | None, avoid: Address | None) -> bool:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._asked_at + LEAST_PAUSE_S - loop.time()))
        try:
            for address in self._candidates(first, avoid):
                try:
                    async with asyncio.timeout(ASK_TIMEOUT_S):
                        found = read_slot_map(await self._ask(address), address)
                except ResponseError as error:
                    # Most likely no cluster at all, or a user who may not ask.
                    log.warning("cluster.slots_refused", node=str(address), error=str(error))
                except (RedisError, OSError, TimeoutError):
                    continue
                else:
                    if found.ranges:
                        self._learn(found)
                        return True
            return False
        finally:
            self._asked_at = loop.time()

    def _candidates(self, first: Address | None, avoid: Address | None) -> Iterable[Address]:
        # In turn: one that is cut off from the others must not be the only one we hear.
        known = sorted(self._map.nodes) or list(self._seeds)
        self._turn += 1
        start = self._turn % len(known)
        ordered = [*known[start:], *known[:start], *self._seeds]
        if first is not None:
            ordered.insert(0, first)
        unique = dict.fromkeys(ordered)
        if avoid in unique:
            # Last, not never: it may be the only one left.
            del unique[avoid]
            unique[avoid] = None
        return unique

    def _learn(self, found: SlotMap) -> None:
        if found == self._map:
            return
        before, self._map = self._map, found
        if found.slots() == before.slots():
            return  # other replicas only
        log.info("cluster.slots_changed", primaries=[str(address) for address in found.primaries])
        for hook in self._hooks:
            hook()

    def _refreshed(self, task: "asyncio.Task[bool]") -> None:
        self._refreshing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("cluster.refresh_failed", exc_info=error)
