"""Pages of lists that are read by (moment, id), the greatest first."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from storage.postgres.times import moment

_GREATEST: Final = (datetime.max.replace(tzinfo=UTC), UUID(int=(1 << 128) - 1))


def start_of(before: tuple[int, str] | None) -> tuple[datetime, UUID]:
    """Where a page begins, which is not part of it: the last (Unix ms, id) of the page before, None for the first."""
    return _GREATEST if before is None else (moment(before[0]), UUID(before[1]))
