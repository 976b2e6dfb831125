"""The bus's connections: which of them takes a publication to a channel, and which brings a channel.

On a plain server there is one, and it takes and brings everything.
"""

from typing import Protocol

from storage.redis.bus_line import Line
from storage.redis.bus_link import BusLink


class Wires(Protocol):
    """All connections of one bus."""

    @property
    def is_connected(self) -> bool:
        """Whether every server can be reached that is known."""
        ...

    def route(self, channel: bytes) -> BusLink | None:
        """The connection that takes a publication to this channel now."""
        ...

    def subscribe(self, channel: bytes) -> None: ...

    def unsubscribe(self, channel: bytes) -> None: ...

    def moved(self) -> None:
        """A server said that a channel is another's."""
        ...

    async def run(self) -> None:
        """Keeps the connections until cancelled."""
        ...


class OneServer:
    """A plain server."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def is_connected(self) -> bool:
        return self._line.link is not None

    def route(self, channel: bytes) -> BusLink | None:
        del channel
        return self._line.open()

    def subscribe(self, channel: bytes) -> None:
        self._line.subscribe(channel)

    def unsubscribe(self, channel: bytes) -> None:
        self._line.unsubscribe(channel)

    def moved(self) -> None:
        """It has nowhere to move to."""

    async def run(self) -> None:
        await self._line.run()
