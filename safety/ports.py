"""What safety needs from outside; `storage` fits these.

Every method may raise `Unavailable`: nothing is known to have changed, and the same call may be made again; all of
them are safe to repeat.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from base.ids import UserId
from safety.records import Block, MadeBlock, Report, SafetyRecord


class SafetyLog(Protocol):
    """Where blocks and reports stand the moment they are made."""

    async def add_block(self, block: Block) -> None:
        """Keeps the block for the recorder, and puts each of the two among the other's blocks."""
        ...

    async def add_report(self, report: Report) -> None:
        """Keeps the report for the recorder."""
        ...

    async def blocks(self, user_id: UserId) -> set[UserId]:
        """Whom the user does not meet, whoever of the two wanted so."""
        ...

    async def restore_blocks(self, user_id: UserId, others: Collection[UserId]) -> None:
        """Adds what the archive knows, and notes that the user's blocks are known now."""
        ...


class BlockArchive(Protocol):
    """Blocks as they are kept for good."""

    async def blocks_of(self, user_ids: Sequence[UserId]) -> dict[UserId, set[UserId]]:
        """Whom each does not meet, whoever of the two wanted so; those without any are left out."""
        ...


class BlockBook(Protocol):
    """Blocks as they are kept for good, for those who made them."""

    async def made_by(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int
    ) -> list[MadeBlock]:
        """The blocks of a user that stand, newest first, strictly before that (made_at, id)."""
        ...

    async def take_back(self, block_id: str, by: UserId) -> UserId | None:
        """Lifts a block of that user; whom it was about, also where it was lifted before. None: there is none."""
        ...

    async def are_apart(self, one: UserId, other: UserId) -> bool:
        """Whether a block of either stands."""
        ...


class BlockSets(Protocol):
    """Blocks as they are asked for at every match."""

    async def forget(self, one: UserId, other: UserId) -> None:
        """Takes each of the two out of the other's blocks."""
        ...

    async def renew(self, one: UserId, other: UserId) -> None:
        """Puts each of the two among the other's blocks."""
        ...


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A record that waits to be written; `record` is None where this release cannot read it."""

    entry_id: str
    record: SafetyRecord | None


class PendingRecords(Protocol):
    """What waits to be written, shared out among recorders."""

    async def take(self, recorder: str, *, limit: int, wait_ms: int) -> list[PendingEntry]:
        """Entries that are this recorder's to write, waiting for the first; those of dead recorders come first.

        An entry comes again, to anyone, unless it is removed.
        """
        ...

    async def renew_blocks(self, blocks: Sequence[Block]) -> None:
        """Makes sure that each of the two is among the other's blocks."""
        ...

    async def remove(self, entry_ids: Sequence[str]) -> None:
        """The entries are written."""
        ...

    async def refuse(self, entry_id: str, reason: str) -> None:
        """Puts an entry that can never be written aside, for a person to look at."""
        ...

    async def count(self) -> int:
        """How many entries wait."""
        ...

    async def tidy(self) -> None:
        """Forgets recorders that are long gone and have nothing left to write."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: the blocks among it that are in force, and what can never be written, with the reason."""

    in_force: frozenset[str]
    refused: dict[str, str]


class SafetyArchive(Protocol):
    """Blocks and reports, kept for good."""

    async def write(self, records: Sequence[SafetyRecord]) -> Written:
        """Writes each record once, by its id, however often it is given."""
        ...
