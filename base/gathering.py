"""Questions that are put one by one, answered by reads of many.

A database answers about a hundred people nearly as quickly as about one. So the first who asks is answered by a read of his
own, and whoever asks while as many reads are under way as may be waits for the next, together with all others who do: one
alone waits for nobody, and a crowd costs a few reads. Decides only who shares a read. A read begins after it was asked for:
nobody is told what was true before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class Gathering(Generic[_Key, _Answer]):
    """`read`, for many at once. It has to bound its own time: whoever asks waits for it."""

    def __init__(
        self,
        read: Callable[[Sequence[_Key]], Awaitable[Mapping[_Key, _Answer]]],
        *,
        at_once: int = 2,
        of_at_most: int = 200,
    ) -> None:
        """At most `at_once` reads are under way, so that one that hangs does not hold up all, each of so many keys."""
        self._read = read
        self._at_once = at_once
        self._of_at_most = of_at_most
        self._asked: deque[tuple[_Key, asyncio.Future[_Answer | None]]] = deque()
        self._readers: set[asyncio.Task[None]] = set()

    def ask(self, key: _Key) -> "asyncio.Future[_Answer | None]":
        """What a read says that begins from now on; None where it says nothing of the key. Raises: what `read` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer | None] = loop.create_future()
        self._asked.append((key, answer))
        if len(self._readers) < self._at_once:
            # Begins in the next turn of the loop, with all who ask in this one.
            reader = loop.create_task(self._answer_all())
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        return answer

    async def _answer_all(self) -> None:
        while self._asked:
            share = [self._asked.popleft() for _ in range(min(len(self._asked), self._of_at_most))]
            # Whoever has given up waiting is not asked about.
            share = [(key, answer) for key, answer in share if not answer.done()]
            if share:
                await self._answer(share)

    async def _answer(self, share: Sequence[tuple[_Key, "asyncio.Future[_Answer | None]"]]) -> None:
        try:
            found = await self._read(list(dict.fromkeys(key for key, _ in share)))
        except Exception as error:
            for _, answer in share:
                if not answer.done():
                    answer.set_exception(error)
        except BaseException:
            for _, answer in share:
                answer.cancel()
            raise
        else:
            for key, answer in share:
                if not answer.done():
                    answer.set_result(found.get(key))
