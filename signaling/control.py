"""Acts on sessions from anywhere: sign-outs and bans close sockets within a second.

Every node reads the log of revocations with a cursor of its own, so that a missed message costs half a second and
not the effect.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from accounts.model import RevokeReason
from base.errors import CloseCode, Unavailable
from base.ids import UserId
from signaling.hub import Hub
from signaling.live_session import LiveSession

logger = structlog.get_logger(__name__)

POLL_S: Final = 0.5


class Revoked(Protocol):
    """One entry of the log."""

    @property
    def user_id(self) -> str: ...
    @property
    def family_id(self) -> str | None: ...
    @property
    def before_ms(self) -> int: ...
    @property
    def reason(self) -> str: ...


class RevocationReader(Protocol):
    """The log; both methods raise Unavailable."""

    async def tail(self) -> str: ...

    async def read_since(self, cursor: str, *, count: int = 1_000) -> tuple[str, Sequence[Revoked]]: ...


class Control:
    """Closes what may not go on."""

    def __init__(self, hub: Hub, revocations: RevocationReader) -> None:
        self._hub = hub
        self._revocations = revocations

    async def watch(self) -> None:
        """Follows the log until cancelled; goes on where it was after an outage."""
        cursor: str | None = None
        while True:
            try:
                if cursor is None:
                    cursor = await self._revocations.tail()
                cursor, entries = await self._revocations.read_since(cursor)
                for entry in entries:
                    self._act(entry)
            except Unavailable:
                logger.debug("revocations could not be read")
            await asyncio.sleep(POLL_S)

    def _act(self, entry: Revoked) -> None:
        code = CloseCode.BANNED if entry.reason == RevokeReason.BAN else CloseCode.REVOKED
        for live in self._hub.of_user(UserId(entry.user_id)):
            if _concerns(entry, live):
                live.end(code, entry.reason)


def _concerns(entry: Revoked, live: LiveSession) -> bool:
    if entry.family_id is not None:
        return live.identity.family_id == entry.family_id
    return live.identity.issued_at_ms < entry.before_ms
