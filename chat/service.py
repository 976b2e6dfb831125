"""Chat: keeps what is said, and says who may say it to whom.

Decides that a message is fit, and that a block counts from the moment it is made: Redis knows it first, the database
soon after. Where Redis is away the database's word is taken, which is behind by no more than what the recorder has
not written yet. Refuses to know who has to be told: the callers tell, after it was kept.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Final

import structlog

from base.errors import Unavailable
from base.gathering import Gathering
from base.ids import ConnectionId, UserId
from chat.metrics import ChatMetrics
from chat.model import Acquaintance, Draft, Made, MadeConnection, Mark, Message, Sent, Wish
from chat.ports import Blocks, ConnectionStore, MessageStore
from chat.rules import NotConnected, fit_body

log = structlog.get_logger(__name__)

KEEPING_TIMEOUT_S: Final = 3.0
BLOCKS_TIMEOUT_S: Final = 0.5
PARTING_TIMEOUT_S: Final = 1.0
SNAPSHOT_TIMEOUT_S: Final = 0.5
MOST_UNREAD: Final = 500
"""Connections with unread messages that a new session is told of."""


class Chat:
    """The service. `new_id` makes UUIDv7 text, `now_ms` is Unix time on the store's clock."""

    def __init__(
        self,
        messages: MessageStore,
        connections: ConnectionStore,
        blocks: Blocks,
        metrics: ChatMetrics,
        new_id: Callable[[], str],
        now_ms: Callable[[], int],
    ) -> None:
        self._messages = messages
        self._connections = connections
        self._blocks = blocks
        self._metrics = metrics
        self._new_id = new_id
        self._now_ms = now_ms
        self._unread = Gathering(self._read_unread, within_s=SNAPSHOT_TIMEOUT_S)

    # Messages.

    async def send(self, by: UserId, connection_id: ConnectionId, client_id: str, body: str) -> Sent:
        """Keeps a message.

        Raises:
            NotConnected, UnfitBody, BodyTooLong, ClientIdReused.
            Unavailable: the database is away; the same may be sent again under its `client_id`.
        """
        started = perf_counter()
        draft = Draft(
            connection_id=connection_id,
            sender_id=by,
            id=self._new_id(),
            client_id=client_id,
            body=fit_body(body),
            sent_at=self._now_ms(),
        )
        apart = await self._apart_from(by)
        async with _within(KEEPING_TIMEOUT_S):
            sent = await self._messages.send(draft, apart=apart)
        self._metrics.keep_seconds.observe(perf_counter() - started)
        self._metrics.messages.labels("new" if sent.is_new else "repeated").inc()
        return sent

    async def read(self, by: UserId, connection_id: ConnectionId, up_to: int) -> Mark:
        """Moves a read mark. Raises: NotConnected, Unavailable."""
        async with _within(KEEPING_TIMEOUT_S):
            return await self._messages.read(connection_id, by, up_to)

    async def messages(
        self,
        by: UserId,
        connection_id: ConnectionId,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[Message]:
        """As `MessageStore.messages`. Raises: NotConnected, Unavailable."""
        await self.peer_of(by, connection_id)  # a block that the database does not know yet
        return await self._messages.messages(connection_id, by, before=before, after=after, limit=limit)

    async def unread(self, user_id: UserId) -> dict[ConnectionId, int] | None:
        """What a new session is told of; None where it is not known: a session does not wait for a database."""
        try:
            return await self._unread.ask(user_id) or {}
        except Unavailable:
            return None

    async def _read_unread(self, user_ids: Sequence[UserId]) -> Mapping[UserId, dict[ConnectionId, int]]:
        async with _within(SNAPSHOT_TIMEOUT_S):
            return await self._messages.unread(user_ids, limit=MOST_UNREAD)

    # Connections.

    async def connect(self, wish: Wish) -> Made | None:
        """Writes the connection; None where that is left to the recorder, or where a block keeps the two apart."""
        made = None
        try:
            async with _within(KEEPING_TIMEOUT_S):
                if wish.user_high not in await self._blocks.blocks(wish.user_low):
                    made = next(iter(await self._connections.make([wish])), None)
        except Unavailable:
            log.info("connection waits", call_id=wish.call_id)
        self._metrics.connections.labels("pending" if made is None else "made").inc()
        return made

    async def peer_of(self, user_id: UserId, connection_id: ConnectionId) -> UserId:
        """Whom a user writes to. Raises: NotConnected, Unavailable."""
        found = await self.peers_of(user_id, [connection_id])
        if connection_id not in found:
            raise NotConnected
        return found[connection_id]

    async def peers_of(
        self, user_id: UserId, connection_ids: Collection[ConnectionId]
    ) -> dict[ConnectionId, UserId]:
        """The other person of each connection that is the user's, open, and not about to be ended by a block."""
        others = await self._connections.others(connection_ids, user_id)
        apart = await self._apart_from(user_id) if others else frozenset()
        return {connection_id: other for connection_id, other in others.items() if other not in apart}

    async def still_open(self, connection_ids: Collection[ConnectionId]) -> set[ConnectionId]:
        """Those of the connections that have not ended. Raises: Unavailable."""
        return await self._connections.still_open(connection_ids)

    async def ever_with(self, user_id: UserId, connection_id: ConnectionId) -> UserId:
        """Whom a user was or is connected with, for blocks and reports. Raises: NotConnected, Unavailable."""
        other = await self._connections.ever_with(connection_id, user_id)
        if other is None:
            raise NotConnected
        return other

    async def acquaintances(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int
    ) -> tuple[list[Acquaintance], tuple[int, str] | None]:
        """A page of a user's connections, and the key that the next one goes on after. Raises: Unavailable."""
        # One more than asked for: so the page knows whether it is the last without counting.
        found = await self._connections.acquaintances(
            user_id, before=before, limit=limit + 1, now_ms=self._now_ms()
        )
        page = found[:limit]
        apart = await self._apart_from(user_id) if page else frozenset()
        last = page[-1] if len(found) > limit else None
        shown = [one for one in page if one.peer_id not in apart]
        return shown, None if last is None else (last.active_at, last.connection_id)

    async def made(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int
    ) -> tuple[list[MadeConnection], tuple[int, str] | None]:
        """As `acquaintances`, by when they were made. Raises: Unavailable."""
        found = await self._connections.made(user_id, before=before, limit=limit + 1)
        page = found[:limit]
        apart = await self._apart_from(user_id) if page else frozenset()
        last = page[-1] if len(found) > limit else None
        shown = [one for one in page if one.peer_id not in apart]
        return shown, None if last is None else (last.made_at, last.connection_id)

    async def end(self, by: UserId, connection_id: ConnectionId) -> UserId:
        """Ends a connection for both; answers with the other's id. Raises: NotConnected, Unavailable."""
        other = await self._connections.end(connection_id, by, self._now_ms())
        if other is None:
            raise NotConnected
        self._metrics.ended.labels("deleted").inc()
        return other

    async def part(self, one: UserId, other: UserId, blocked_at: int) -> list[ConnectionId]:
        """Ends what connects two people, one of whom blocked the other at that moment; answers with what that was.

        Best effort: the block is kept already, and whoever writes it to the database ends the connection with it.
        """
        try:
            async with _within(PARTING_TIMEOUT_S):
                parted = await self._connections.part(one, other, blocked_at)
        except Unavailable:
            log.info("connection is ended by the recorder")
            return []
        self._metrics.ended.labels("blocked").inc(len(parted))
        return parted

    async def keeps_apart(self, one: UserId, other: UserId) -> bool:
        """Whether a block keeps the two apart, as far as anybody can say just now."""
        return other in await self._apart_from(one)

    async def _apart_from(self, user_id: UserId) -> Collection[UserId]:
        try:
            async with _within(BLOCKS_TIMEOUT_S):
                return await self._blocks.blocks(user_id)
        except Unavailable:
            self._metrics.unchecked.inc()
            return frozenset()


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Bounds a wait that somebody waits behind. Raises: Unavailable; what was asked for may have happened."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unavailable(retry_after_ms=1_000) from error
