"""What chat needs from outside; `storage` fits these.

Every method may raise `Unavailable`: nothing is known to have changed then. All are safe to repeat.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from base.ids import ConnectionId, UserId
from chat.model import Acquaintance, Draft, Made, MadeConnection, Mark, Message, Sent, Untold, Wish


class MessageStore(Protocol):
    """Messages and read marks. One who is not of a connection, or of one that has ended, gets `NotConnected`."""

    async def send(self, draft: Draft, *, apart: Collection[UserId]) -> Sent:
        """Keeps the message, unless the sender's `client_id` is known: then answers with what is kept under it.

        `apart`: whom the sender does not meet; a connection to one of them counts as ended.

        Raises:
            ClientIdReused: under it something else is kept.
        """
        ...

    async def read(self, connection_id: ConnectionId, user_id: UserId, up_to: int) -> Mark:
        """Moves the user's read mark by `chat.rules.read_mark`, and counts what is unread beyond it."""
        ...

    async def messages(
        self,
        connection_id: ConnectionId,
        user_id: UserId,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[Message]:
        """At most `limit` messages: those before a number, newest first, or those after one, oldest first."""
        ...

    async def unread(
        self, user_ids: Sequence[UserId], *, limit: int
    ) -> dict[UserId, dict[ConnectionId, int]]:
        """How many messages each user has not read, of the connections that have any, the most recent first.

        At most `limit` connections for each; users without any are left out.
        """
        ...


class ConnectionStore(Protocol):
    """Who is connected with whom."""

    async def make(self, wishes: Sequence[Wish]) -> list[Made]:
        """Writes the connections of pairs that have none and whom no block keeps apart, in one transaction.

        A wish that is older than the end of a connection of its pair, or than a block, makes none, though the block may
        have been taken back. Answers with the open connections of the pairs, for each wish that has one.
        """
        ...

    async def untold(self, connection_ids: Collection[ConnectionId], now_ms: int) -> list[Untold]:
        """Those of them that both have still to hear of."""
        ...

    async def claim_untold(self, now_ms: int, *, limit: int) -> list[Untold]:
        """Connections whose writer should have told the two by now; nobody else is given them for a few seconds."""
        ...

    async def told(self, news: Sequence[Untold]) -> None:
        """Both were told."""
        ...

    async def others(
        self, connection_ids: Collection[ConnectionId], user_id: UserId
    ) -> dict[ConnectionId, UserId]:
        """The other person of each connection that is open and the user's."""
        ...

    async def still_open(self, connection_ids: Collection[ConnectionId]) -> set[ConnectionId]:
        """Those of them that have not ended, whosever they are."""
        ...

    async def ever_with(self, connection_id: ConnectionId, user_id: UserId) -> UserId | None:
        """As `others`, of one connection, also when it has ended."""
        ...

    async def acquaintances(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int, now_ms: int
    ) -> list[Acquaintance]:
        """The user's open connections, the most recently active first, strictly before that (active_at, id)."""
        ...

    async def made(
        self, user_id: UserId, *, before: tuple[int, str] | None, limit: int
    ) -> list[MadeConnection]:
        """The user's open connections, the last made first, strictly before that (made_at, id)."""
        ...

    async def end(self, connection_id: ConnectionId, user_id: UserId, now_ms: int) -> UserId | None:
        """Ends the connection for both; the other's id, None where the user has no such open connection."""
        ...

    async def part(self, one: UserId, other: UserId, blocked_at: int) -> list[ConnectionId]:
        """Ends what connects two people because one blocked the other at that moment; what that was.

        Whether it is ended by this, or by whoever wrote the block.
        """
        ...


class Blocks(Protocol):
    """Who keeps away from whom, as of this moment."""

    async def blocks(self, user_id: UserId) -> set[UserId]:
        """Whom the user does not meet, whoever of the two wanted so."""
        ...


class Presence(Protocol):
    """Who is there."""

    async def online(self, user_ids: Collection[UserId]) -> set[UserId]:
        """Those of them who have a session on a living node."""
        ...

    async def apart(self, others: Mapping[UserId, Collection[UserId]]) -> set[tuple[UserId, UserId]]:
        """Of these pairs (a user, and others), those whom a block keeps apart."""
        ...
