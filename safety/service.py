"""Blocking and reporting: in effect at once, kept for good soon after, and lost never.

Decides what a block and a report are. Refuses to know calls (whoever blocks tells the call) and how the archive is
written: that is the recorder's.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from base.errors import ErrorCode, MinuetError, Unavailable
from base.gathering import Gathering
from base.ids import CallId, ConnectionId, UserId
from base.rounds import keep_on
from safety.metrics import SafetyMetrics
from safety.ports import BlockArchive, SafetyLog
from safety.records import NOTE_LENGTH, Block, Report, ReportCategory

log = structlog.get_logger(__name__)

RETRY_RESTORING_S = 2.0
RETRY_AFTER_MS = 1_000
MOST_UNRESTORED = 100_000
RESTORED_AT_ONCE = 200
RESTORING_TIMEOUT_S = 5.0
"""For so long somebody of a crowd waits until the archive is asked; then their blocks come back in the background."""


class SelfDirected(MinuetError):
    """Somebody tried to block or report themselves."""

    code = ErrorCode.CONFLICT


class Safety:
    """The service. `new_id` makes UUIDv7 text."""

    def __init__(
        self, log: SafetyLog, archive: BlockArchive, new_id: Callable[[], str], metrics: SafetyMetrics
    ) -> None:
        self._log = log
        self._archive = archive
        self._new_id = new_id
        self._metrics = metrics
        self._restored = metrics.restored.labels("restored")
        self._archived = Gathering(archive.blocks_of, within_s=RESTORING_TIMEOUT_S)
        self._unrestored: dict[UserId, None] = {}

    async def block(self, by: UserId, other: UserId, *, call_id: CallId | None, now_ms: int) -> str:
        """The two do not meet again, from now on; answers with the block's id.

        Raises:
            SelfDirected: the two are one.
            Unavailable: Redis is away. Nothing is lost if the caller tries again; twice is once.
        """
        _refuse_self(by, other)
        block = Block(id=self._new_id(), by_id=by, other_id=other, call_id=call_id, made_at=now_ms)
        await self._log.add_block(block)
        self._metrics.made.labels("block").inc()
        return block.id

    async def report(
        self,
        by: UserId,
        other: UserId,
        *,
        call_id: CallId | None,
        category: ReportCategory,
        note: str,
        now_ms: int,
        connection_id: ConnectionId | None = None,
    ) -> str:
        """Tells the moderators; answers with the report's id.

        Raises:
            SelfDirected: the two are one.
            Unavailable: Redis is away.
        """
        _refuse_self(by, other)
        report = Report(
            id=self._new_id(),
            by_id=by,
            other_id=other,
            call_id=call_id,
            category=category,
            # PostgreSQL cannot hold NUL in a text.
            note=note.replace("\0", "")[:NOTE_LENGTH],
            made_at=now_ms,
            connection_id=connection_id,
        )
        await self._log.add_report(report)
        self._metrics.made.labels("report").inc()
        return report.id

    async def blocks(self, user_id: UserId) -> set[UserId]:
        """Whom the user does not meet.

        Raises:
            Unavailable: Redis is away.
        """
        return await self._log.blocks(user_id)

    async def restore_blocks(self, user_id: UserId) -> bool:
        """Brings a user's blocks back from the archive, after Redis lost them or before it ever knew them.

        Called when a session registers and the user's blocks are not known. Where something is away it is tried again
        in the background: people get in, rather than waiting for a database.

        Returns:
            Whether they are known now.
        """
        try:
            others = await self._archived.ask(user_id) or set()
            await self._log.restore_blocks(user_id, others)
        except Unavailable as error:
            if not self._unrestored:
                log.warning("safety.restoring_waits", error=error.message)
            if len(self._unrestored) < MOST_UNRESTORED:
                self._unrestored[user_id] = None
            self._metrics.restored.labels("later").inc()
            return False
        self._unrestored.pop(user_id, None)
        self._restored.inc()
        return True

    async def make_sure_of_blocks(self, user_id: UserId) -> None:
        """Asked before somebody looks for a partner, who may have been let in without their blocks.

        Raises:
            Unavailable: they are not known yet.
        """
        if user_id in self._unrestored and not await self.restore_blocks(user_id):
            raise Unavailable("whom they have blocked is not known yet", retry_after_ms=RETRY_AFTER_MS)

    async def restore_blocks_of(self, user_ids: Sequence[UserId]) -> int:
        """As `restore_blocks`, of a crowd, whose sessions are registered again after a loss; of how many.

        Those whose blocks cannot be had now are tried again in the background.
        """
        left = list(dict.fromkeys(user_ids))
        restored = 0
        try:
            while left:
                share = left[:RESTORED_AT_ONCE]
                found = await self._archive.blocks_of(share)
                await asyncio.gather(
                    *(self._log.restore_blocks(user_id, found.get(user_id, ())) for user_id in share)
                )
                for user_id in share:
                    self._unrestored.pop(user_id, None)
                self._metrics.restored.labels("restored").inc(len(share))
                restored += len(share)
                del left[: len(share)]
        except Unavailable as error:
            if not self._unrestored:
                log.warning("safety.restoring_waits", error=error.message, users=len(left))
            room = max(0, MOST_UNRESTORED - len(self._unrestored))
            self._unrestored.update(dict.fromkeys(left[:room]))
            self._metrics.restored.labels("later").inc(len(left))
        return restored

    async def run(self) -> None:
        """Restores, until cancelled, what could not be restored when it was asked for."""
        await keep_on(RETRY_RESTORING_S, self._restore_the_rest, "safety.restoring_failed")

    async def _restore_the_rest(self) -> None:
        if self._unrestored:
            restored = await self.restore_blocks_of(list(self._unrestored))
            if restored:
                log.info("safety.restored", users=restored)


def _refuse_self(by: UserId, other: UserId) -> None:
    if by == other:
        raise SelfDirected("Nobody can block or report themselves.")
