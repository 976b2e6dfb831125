"""Questions that are put one by one, answered by reads of many.

A database answers about a hundred people nearly as quickly as about one. So the first who asks is answered by a read of his
own, and whoever asks while it is under way waits for the next, together with all others who do: one alone waits for nobody,
and a crowd costs a few reads. Decides only who shares a read, and who has waited for one for too long. A read begins after it
was asked for: nobody is told what was true before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from base.errors import Unavailable

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
        within_s: float = float("inf"),
    ) -> None:
        """At most `at_once` reads are under way, the second where the first hangs, each of so many keys.

        Whoever has waited for a read for `within_s` is read no more: of a crowd, while reads hang, the last would be told so
        only after all the others, one share after the other.
        """
        self._read = read
        self._at_once = at_once
        self._of_at_most = of_at_most
        self._within_s = within_s
        self._asked: deque[tuple[_Key, asyncio.Future[_Answer | None], float]] = deque()
        """Each with when it was asked, by the loop's clock."""
        self._readers: dict[asyncio.Task[None] | None, float] = {}
        """Each with when its read began, by the loop's clock."""

    def ask(self, key: _Key) -> "asyncio.Future[_Answer | None]":
        """What a read says that begins from now on; None where it says nothing of the key.

        Raises: what `read` raises; Unavailable where none began in time.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer | None] = loop.create_future()
        now = loop.time()
        self._asked.append((key, answer, now))
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
                now = asyncio.get_running_loop().time()
                if share := self._next_share(now):
                    self._readers[me] = now
                    await self._answer(share)
        finally:
            # At once, not when the task is told to be done: whoever asks in between would wait for a reader that has left.
            self._readers.pop(me, None)

    def _next_share(self, now: float) -> dict[_Key, list["asyncio.Future[_Answer | None]"]]:
        """Who asked first, by what they asked."""
        share: dict[_Key, list[asyncio.Future[_Answer | None]]] = {}
        while self._asked:
            key, answer, asked_at = self._asked[0]
            if len(share) == self._of_at_most and key not in share:
                break
            self._asked.popleft()
            # Whoever has given up waiting is not asked about.
            if answer.done():
                continue
            if now - asked_at > self._within_s:
                answer.set_exception(Unavailable("nobody could be asked in time"))
                continue
            share.setdefault(key, []).append(answer)
        return share

    async def _answer(self, share: Mapping[_Key, Sequence["asyncio.Future[_Answer | None]"]]) -> None:
        try:
            found = await self._read(list(share))
        except Exception as error:
            # Broad: it is told to whoever asked, whatever it is.
            for answer in _waiting(share):
                answer.set_exception(error)
        except asyncio.CancelledError:
            # The process ends: nobody is to wait for a reader that has left.
            for answer in _waiting(share):
                answer.cancel()
            raise
        else:
            for key, answers in share.items():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(found.get(key))


def _waiting(
    share: Mapping[_Key, Sequence["asyncio.Future[_Answer | None]"]],
) -> list["asyncio.Future[_Answer | None]"]:
    return [answer for answers in share.values() for answer in answers if not answer.done()]
