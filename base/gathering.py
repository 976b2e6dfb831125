"""Questions that are put one by one, answered by reads of many.

A database answers about a hundred people nearly as quickly as about one. So the first who asks is answered by a read of his
own, and whoever asks while it is under way waits for the next, together with all others who do: one alone waits for nobody,
and a crowd costs a few reads. Decides only who shares a read. A read begins after it was asked for: nobody is told what was
true before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

PATIENCE_S: Final = 0.05
"""A read that takes longer is not waited for: those who come then have one of their own beside it."""

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class Gathering(Generic[_Key, _Answer]):
    """`read`, for many at once. It has to bound its own time: whoever asks waits for it."""

    def __init__(
        self,
        read: Callable[[Sequence[_Key]], Awaitable[Mapping[_Key, _Answer]]],
        *,
        at_once: int = 4,
        of_at_most: int = 200,
    ) -> None:
        """At most `at_once` reads are under way, the second where the first hangs, each of so many keys."""
        self._read = read
        self._at_once = at_once
        self._of_at_most = of_at_most
        self._asked: deque[tuple[_Key, asyncio.Future[_Answer | None]]] = deque()
        self._readers: dict[asyncio.Task[None] | None, float] = {}
        """Each with when its read began, by the loop's clock."""

    def ask(self, key: _Key) -> "asyncio.Future[_Answer | None]":
        """What a read says that begins from now on; None where it says nothing of the key. Raises: what `read` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer | None] = loop.create_future()
        self._asked.append((key, answer))
        now = loop.time()
        if len(self._readers) < self._at_once and self._all_are_slow(now):
            # Begins in the next turn of the loop, with all who ask in this one.
            self._readers[loop.create_task(self._answer_all())] = now
        return answer

    def _all_are_slow(self, now: float) -> bool:
        return all(now - began_at > PATIENCE_S for began_at in self._readers.values())

    async def _answer_all(self) -> None:
        me = asyncio.current_task()
        try:
            while self._asked:
                share = [self._asked.popleft() for _ in range(min(len(self._asked), self._of_at_most))]
                # Whoever has given up waiting is not asked about.
                share = [(key, answer) for key, answer in share if not answer.done()]
                if share:
                    self._readers[me] = asyncio.get_running_loop().time()
                    await self._answer(share)
        finally:
            # At once, not when the task is told to be done: whoever asks in between would wait for a reader that has left.
            self._readers.pop(me, None)

    async def _answer(self, share: Sequence[tuple[_Key, "asyncio.Future[_Answer | None]"]]) -> None:
        try:
            found = await self._read(list(dict.fromkeys(key for key, _ in share)))
        except Exception as error:
            # Broad: it is told to whoever asked, whatever it is.
            for _, answer in share:
                if not answer.done():
                    answer.set_exception(error)
        except asyncio.CancelledError:
            # The process ends: nobody is to wait for a reader that has left.
            for _, answer in share:
                answer.cancel()
            raise
        else:
            for key, answer in share:
                if not answer.done():
                    answer.set_result(found.get(key))
