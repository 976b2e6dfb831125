"""One look for all who ask at about the same time.

Decides only that nobody is given an answer to a question that was put before they asked: what is on its way may have been
true before. So whoever asks while a look is under way waits for the next one, together with all others who do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class SharedLooks(Generic[_Answer]):
    """`look`, at most once at a time however many ask."""

    def __init__(self, look: Callable[[], Awaitable[_Answer]]) -> None:
        self._look = look
        self._under_way: asyncio.Task[_Answer] | None = None
        self._next: asyncio.Task[_Answer] | None = None

    async def ask(self) -> _Answer:
        """What a look says that began after this was called. Raises: what `look` raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._under_way))
        # Whoever gives up waiting does not take the look away from the others.
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[_Answer] | None) -> _Answer:
        if before is not None:
            await asyncio.wait([before])
        self._under_way, self._next = self._next, None
        try:
            return await self._look()
        finally:
            self._under_way = None
