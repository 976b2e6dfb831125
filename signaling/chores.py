"""What is done on behalf of sessions, or of calls, and waits for something: each in a task of its own, all in one group.

Decides that a failure is that of one session or call alone. Refuses to know what is done.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

logger = structlog.get_logger(__name__)


class Chores:
    """The work of all sessions, or calls, of this node that is under way."""

    def __init__(self, whose: str = "session") -> None:
        self._whose = whose
        self._tasks: asyncio.TaskGroup | None = None
        self.number = 0
        """How many pieces of work are under way."""

    async def run(self) -> None:
        """Has work done until cancelled; what is under way is cancelled then, too."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            # Also while there is nothing to do.
            await asyncio.Event().wait()

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins in the next turn of the loop. Raises: RuntimeError before `run`."""
        if self._tasks is None:
            work.close()
            raise RuntimeError(f"no {self._whose} is being served")
        self.number += 1
        self._tasks.create_task(self._do(work))

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # Broad, since the failure of one must not end the task group that serves all of them.
            logger.exception("work failed", whose=self._whose)
        finally:
            self.number -= 1
