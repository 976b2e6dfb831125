"""Hashes passwords with argon2id, in a few threads of its own.

One hash takes about 40 ms of a core and 19 MiB, so both the threads and the requests that wait for one are bounded:
above that, callers hear `unavailable` at once instead of piling up. Parameters: OWASP Password Storage Cheat Sheet.
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from accounts.metrics import AccountMetrics
from base.errors import Unavailable

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
RETRY_AFTER_MS = 2_000

Result = TypeVar("Result")


class Passwords:
    """argon2id over `threads` threads with at most `waiting` requests in line.

    Stored hashes name the cost they were made with, so it may be changed at any time.
    """

    def __init__(
        self,
        metrics: AccountMetrics,
        *,
        threads: int = 2,
        waiting: int = 32,
        memory_kib: int = MEMORY_KIB,
        passes: int = PASSES,
    ) -> None:
        self._metrics = metrics
        self._places = BoundedSemaphore(threads + waiting)
        self._hasher = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=LANES, type=Type.ID
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        # Verified where there is no account, so that both cases take the same time.
        self._decoy = self._hasher.hash(secrets.token_urlsafe(32))

    async def hash(self, password: str) -> str:
        """The PHC string of a password.

        Raises:
            Unavailable: too many others wait.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password fits. With nothing stored: False, after the same work.

        Raises:
            Unavailable: too many others wait.
        """
        fits = await self._run(lambda: self._fits(stored or self._decoy, password))
        return fits and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether a hash that fits was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Let running hashes finish in their threads; nobody waits for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fits(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError):
            # A hash we cannot read lets nobody in.
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            self._metrics.password_queue_full.inc()
            raise Unavailable("Too many sign-ins at the moment.", retry_after_ms=RETRY_AFTER_MS)
        submitted = self._threads.submit(work)
        # A place is free when the thread is done, not when its caller has gone: the work goes on without it.
        submitted.add_done_callback(lambda _: self._places.release())
        with self._metrics.password_seconds.time():
            return await asyncio.wrap_future(submitted)
