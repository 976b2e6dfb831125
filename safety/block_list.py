"""What somebody has blocked, and taking it back.

Taking a block back brings nothing else back: no connection, no call. Where the other blocked, too, the two stay apart.
"""

from collections.abc import Sequence

import structlog

from base.errors import ErrorCode, MinuetError
from base.ids import UserId
from safety.ports import BlockBook, BlockSets
from safety.records import MadeBlock

log = structlog.get_logger(__name__)


class NoSuchBlock(MinuetError):
    """There is no such block, or somebody else made it."""

    code = ErrorCode.NOT_FOUND


class BlockList:
    """The service. Every method raises `Unavailable` where a store is away, and may be repeated."""

    def __init__(self, book: BlockBook, sets: BlockSets) -> None:
        self._book = book
        self._sets = sets

    async def made_by(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int
    ) -> Sequence[MadeBlock]:
        """The blocks that a user has made and not taken back, newest first."""
        return await self._book.made_by(user_id, before=before, limit=limit)

    async def take_back(self, block_id: str, by: UserId) -> None:
        """The two may meet again, unless the other does not want that. Raises: NoSuchBlock, Unavailable."""
        other = await self._book.take_back(block_id, by)
        if other is None:
            raise NoSuchBlock
        if await self._book.are_apart(by, other):
            return
        await self._sets.forget(by, other)
        # The other's block, made just now, may have been written between our question and our deed.
        if await self._book.are_apart(by, other):
            await self._sets.renew(by, other)
        log.info("block taken back", block_id=block_id)
