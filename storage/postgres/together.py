"""What many ask for one by one, asked for at once.

A statement costs its process and the database much more than the rows that it is about. So whoever wants a row asks for
all who want one in the same turn of the event loop, and where statements are under way already, for those who come until
one of them is done: nobody waits longer for company than for an answer. Nothing is kept: what is answered was read after
it was asked for. Refuses to know what is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AT_ONCE: Final = 64
"""Rows of one statement: reading them blocks the event loop, which has frames to relay."""
_UNDER_WAY: Final = 2


class _Deserted(Exception):
    """Whoever asked for others, too, was cancelled."""


class Together(Generic[K, V]):
    """Answers one by one what is asked for together. Raises: what `ask` raises, to all of those it was asked for."""

    def __init__(self, ask: Callable[[list[K]], Awaitable[Mapping[K, V]]], *, patience_s: float) -> None:
        """`patience_s` bounds the wait for statements that are under way."""
        self._ask = ask
        self._patience_s = patience_s
        self._turns = asyncio.Semaphore(_UNDER_WAY)
        self._gathering: dict[K, list[asyncio.Future[V | None]]] | None = None

    async def get(self, key: K) -> V | None:
        """None where there is no answer for this key. Raises: also TimeoutError."""
        while True:
            others = self._gathering
            if others is None or len(others) >= AT_ONCE:
                return await self._ask_for_all(key)
            answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
            others.setdefault(key, []).append(answer)
            try:
                return await answer
            except _Deserted:
                continue

    async def _ask_for_all(self, key: K) -> V | None:
        all_of_us: dict[K, list[asyncio.Future[V | None]]] = {key: []}
        self._gathering = all_of_us
        try:
            if self._turns.locked():
                async with asyncio.timeout(self._patience_s):
                    await self._turns.acquire()
            else:
                await self._turns.acquire()
                try:
                    # Whoever else is about to ask in this turn.
                    await asyncio.sleep(0)
                except BaseException:
                    self._turns.release()
                    raise
            try:
                self._no_more(all_of_us)
                found = await self._ask(list(all_of_us))
            finally:
                self._turns.release()
        except BaseException as error:
            self._no_more(all_of_us)
            why = error if isinstance(error, Exception) else _Deserted()
            for answer in _waiting(all_of_us):
                answer.set_exception(why)
            raise
        for each, answers in all_of_us.items():
            for answer in answers:
                if not answer.done():
                    answer.set_result(found.get(each))
        return found.get(key)

    def _no_more(self, all_of_us: dict[K, list[asyncio.Future[V | None]]]) -> None:
        if self._gathering is all_of_us:
            self._gathering = None


def _waiting(asked: Mapping[K, list[asyncio.Future[V | None]]]) -> list[asyncio.Future[V | None]]:
    return [answer for answers in asked.values() for answer in answers if not answer.done()]
