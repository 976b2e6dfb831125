"""From two people's wish in a call to their connection.

The call's record is the wish: it is committed first, and the recorder makes good of it what is not written here, because
the database is away or this process dies. Decides what the one who asked is answered, and that a block shows nowhere.
"""

from collections.abc import Callable, Mapping
from typing import Any

from base.ids import ConnectionId
from chat.model import Wish, in_order
from chat.service import Chat
from signaling.call.record import Call, ConsentKind
from signaling.courier import ConnectionTeller


class Connecting:
    """Writes the connection of a call, and has the two told. `now_ms` is Unix time."""

    def __init__(self, chat: Chat, teller: ConnectionTeller, now_ms: Callable[[], int]) -> None:
        self._chat = chat
        self._teller = teller
        self._now_ms = now_ms

    async def follow(self, call: Call, reply: Mapping[str, Any]) -> dict[str, Any]:
        """What `connect.request` is answered, after the call has answered `reply`."""
        wish = wish_of(call)
        if wish is None:
            return dict(reply)
        made = await self._chat.connect(wish)
        if made is None:
            return {"connected": True, "pending": True}
        if made.is_news:
            await self._teller.tell([made.connection_id], self._now_ms())
        # The pair's connection, which may be older than this call.
        return {"connected": True, "connection_id": made.connection_id, "pending": False}


def wish_of(call: Call) -> Wish | None:
    """The connection that the two of a call have agreed on; None where they have not."""
    if not call.connected or call.connection_id is None:
        return None
    agreed = (event.at for event in call.events if event.kind is ConsentKind.CONNECTED)
    low, high = in_order(call.a.user_id, call.b.user_id)
    return Wish(
        connection_id=ConnectionId(call.connection_id),
        user_low=low,
        user_high=high,
        call_id=call.call_id,
        made_at=next(agreed, call.ended_at or call.created_at),
    )
