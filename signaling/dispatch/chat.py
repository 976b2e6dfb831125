"""The `chat` family, and `presence.watch`: keeps, then tells. REST uses the same service.

Nothing is told that is not kept. What is kept and could not be told everywhere is found by whoever was not told, by the
gap in its numbers or in the next snapshot.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, assert_never

import structlog

from base.errors import MinuetError, Unavailable
from base.ids import ConnectionId, SessionId, UserId
from chat.model import Acquaintance, MadeConnection, Mark, Message, Sent
from chat.ports import Presence
from chat.service import Chat
from signaling.courier import Courier
from signaling.live_session import LiveSession
from signaling.protocol.messages import chat as wire
from signaling.watches import Watches

logger = structlog.get_logger(__name__)

_REMEMBERED: Final = 4_096

ChatRequest = wire.ChatSend | wire.ChatRead | wire.ChatTyping | wire.PresenceWatch | wire.PresenceUnwatch
PresenceName = Literal["online", "offline", "unknown"]
Key = tuple[int, str]


class ChatCommands:
    """Lets people write to each other, over WebSocket or REST."""

    def __init__(self, chat: Chat, courier: Courier, watches: Watches, presence: Presence) -> None:
        self._chat = chat
        self._courier = courier
        self._watches = watches
        self._presence = presence
        self._told: dict[str, None] = {}
        """Messages that this node told, the last few thousand: repeated, they are not told again."""

    async def handle(self, live: LiveSession, message: ChatRequest) -> Mapping[str, Any] | None:
        """Does what a device asks. Raises: MinuetError as `Chat`, Unavailable."""
        match message:
            case wire.ChatSend(connection_id=connection_id, client_id=client_id, body=body):
                sent = await self.send(live.user_id, connection_id, client_id, body, device=live.id)
                return {"id": sent.id, "number": sent.number, "sent_at": sent.sent_at}
            case wire.ChatRead(connection_id=connection_id, up_to=up_to):
                mark = await self.read(live.user_id, connection_id, up_to, device=live.id)
                return {"up_to": mark.up_to, "unread": mark.unread}
            case wire.ChatTyping(connection_id=connection_id):
                await self._typing(live, ConnectionId(connection_id))
                return None
            case wire.PresenceWatch(connection_ids=connection_ids):
                return await self._watch(live, [ConnectionId(one) for one in connection_ids])
            case wire.PresenceUnwatch(connection_ids=connection_ids):
                return {"watching": self._watches.unwatch(live, connection_ids)}
            case _:
                assert_never(message)

    # What REST does, too; `device` is the one that asks, and need not be told.

    async def send(
        self, by: str, connection_id: str, client_id: str, body: str, *, device: SessionId | None = None
    ) -> Message:
        """Keeps a message and tells both. Raises: as `Chat.send`."""
        sent = await self._chat.send(UserId(by), ConnectionId(connection_id), client_id, body)
        # Known already, but perhaps whoever kept it did not live to tell it.
        if sent.is_new or sent.message.id not in self._told:
            await self._tell_message(sent, device)
        return sent.message

    async def read(self, by: str, connection_id: str, up_to: int, *, device: SessionId | None = None) -> Mark:
        """Moves a read mark and tells both. Raises: as `Chat.read`."""
        mark = await self._chat.read(UserId(by), ConnectionId(connection_id), up_to)
        if mark.moved:
            mine = wire.ChatReadUpTo(
                connection_id=connection_id, by="self", up_to=mark.up_to, unread=mark.unread
            )
            theirs = wire.ChatReadUpTo(connection_id=connection_id, by="peer", up_to=mark.up_to)
            await self._courier.tell(mark.other_id, theirs)
            await self._courier.tell(UserId(by), mine, but=device)
        return mark

    async def messages(
        self, by: str, connection_id: str, *, before: int | None, after: int | None, limit: int
    ) -> list[Message]:
        """A page of a connection's messages. Raises: as `Chat.messages`."""
        return await self._chat.messages(
            UserId(by), ConnectionId(connection_id), before=before, after=after, limit=limit
        )

    async def acquaintances(
        self, user_id: str, *, before: Key | None, limit: int
    ) -> tuple[list[tuple[Acquaintance, PresenceName]], Key | None]:
        """A page of a user's connections with who is there, and the key of the next page. Raises: Unavailable."""
        page, after = await self._chat.acquaintances(UserId(user_id), before=before, limit=limit)
        try:
            online = await self._presence.online({one.peer_id for one in page})
        except Unavailable:
            return [(one, "unknown") for one in page], after
        return [(one, "online" if one.peer_id in online else "offline") for one in page], after

    async def made(
        self, user_id: str, *, before: Key | None, limit: int
    ) -> tuple[list[MadeConnection], Key | None]:
        """A page of a user's connections by when they were made, and the key of the next. Raises: Unavailable."""
        return await self._chat.made(UserId(user_id), before=before, limit=limit)

    async def end(self, by: str, connection_id: str) -> None:
        """Ends a connection for both. Raises: NotConnected, Unavailable."""
        other = await self._chat.end(UserId(by), ConnectionId(connection_id))
        await self._ended(UserId(by), other, [ConnectionId(connection_id)])

    # What blocks do.

    async def part(self, by: UserId, other: UserId, blocked_at: int) -> None:
        """One has blocked the other at that moment: what connects them ends. Raises nothing."""
        await self._ended(by, other, await self._chat.part(by, other, blocked_at))

    async def ever_with(self, user_id: UserId, connection_id: str) -> UserId:
        """As `Chat.ever_with`."""
        return await self._chat.ever_with(user_id, ConnectionId(connection_id))

    # How it goes on inside.

    async def _tell_message(self, sent: Sent, device: SessionId | None) -> None:
        message = sent.message
        theirs = wire.ChatMessage(
            connection_id=message.connection_id,
            id=message.id,
            number=message.number,
            sender="peer",
            body=message.body,
            sent_at=message.sent_at,
            unread=sent.unread,
        )
        mine = wire.ChatMessage(
            connection_id=message.connection_id,
            id=message.id,
            number=message.number,
            client_id=message.client_id,
            sender="self",
            body=message.body,
            sent_at=message.sent_at,
        )
        # A block may have come while the message was being kept: whoever blocked has their `ok`, and hears no more.
        if await self._chat.keeps_apart(message.sender_id, sent.other_id):
            told = True
        else:
            told = await self._courier.tell(sent.other_id, theirs)
        told &= await self._courier.tell(message.sender_id, mine, but=device)
        if told:
            self._told[message.id] = None
            if len(self._told) > _REMEMBERED:
                del self._told[next(iter(self._told))]

    async def _typing(self, live: LiveSession, connection_id: ConnectionId) -> None:
        try:
            other = await self._chat.peer_of(live.user_id, connection_id)
        except MinuetError as error:
            # Nobody waits for an answer, and nothing is lost.
            logger.debug("typing went nowhere", code=error.code)
            return
        await self._courier.tell(other, wire.ChatIsTyping(connection_id=connection_id, sender="peer"))
        mine = wire.ChatIsTyping(connection_id=connection_id, sender="self")
        await self._courier.tell(live.user_id, mine, but=live.id)

    async def _watch(self, live: LiveSession, connection_ids: Sequence[ConnectionId]) -> Mapping[str, Any]:
        peers = await self._chat.peers_of(live.user_id, connection_ids)
        watching = self._watches.watch(live, peers)
        live.run_soon(self._first_look(live))
        return {"watching": watching}

    async def _first_look(self, live: LiveSession) -> None:
        try:
            await self._watches.look(live)
        except Unavailable:
            logger.debug("presence is told later")

    async def _ended(self, by: UserId, other: UserId, connection_ids: Sequence[ConnectionId]) -> None:
        for connection_id in connection_ids:
            self._watches.end(connection_id)
            await self._courier.end_watches(connection_id, by, other)
            # Only to who ended it: the other is told nothing, and that is the same for an end and for a block.
            await self._courier.tell(by, wire.ConnectionEnded(connection_id=connection_id))
