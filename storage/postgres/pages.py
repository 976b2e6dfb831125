"""Pages of lists that are read by (moment, id), the greatest first."""

from datetime import UTC, datetime
from uuid import UUID

BEFORE_ALL = (datetime.max.replace(tzinfo=UTC), UUID(int=(1 << 128) - 1))
"""Greater than every key: where the first page begins."""
