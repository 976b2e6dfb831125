"""Requests of one session that are done one after the other, while other sessions and other lines go on.

Holds nothing while nobody stands in it: most sessions are idle most of the time, and there are many.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from signaling.protocol.codec import Request

Do = Callable[[Request], Awaitable[None]]


class Line:
    """Requests in the order of their coming."""

    __slots__ = ("_waiting", "is_busy")

    def __init__(self) -> None:
        self._waiting: deque[Request] | None = None
        self.is_busy = False
        """Whether one is being done, or about to be."""

    def __len__(self) -> int:
        return 0 if self._waiting is None else len(self._waiting)

    def add(self, request: Request, do: Do) -> Coroutine[Any, Any, None] | None:
        """Puts a request in line; the work to be run where nobody works at this line. `do` raises nothing."""
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(request)
        if self.is_busy:
            return None
        self.is_busy = True
        return self._work_off(do)

    def clear(self) -> None:
        """Nobody waits any more; what is being done is done to its end."""
        self._waiting = None

    async def _work_off(self, do: Do) -> None:
        try:
            while self._waiting:
                await do(self._waiting.popleft())
        finally:
            self._waiting = None
            self.is_busy = False
