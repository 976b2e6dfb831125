"""A connection of the bus to one server, kept: made anew whenever it is lost, hangs, or brings no canary.

A subscription can hang while everything else is fine, and a primary that was cut off can still deliver. Therefore each
inbox must hear its canary, which the node's lease publishes: after 3 s without one the connection is made anew.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from storage.redis.bus_ground import Ground
from storage.redis.bus_incoming import Incoming
from storage.redis.bus_link import BusLink, LinkListener
from storage.redis.bus_outgoing import Outgoing
from storage.redis.client import UNAVAILABLE_ERRORS

WATCH_EVERY_MS = 500
PING_EVERY_MS = 1_000
LONGEST_BACKOFF_S = 1.0
STEADY_MS = 5_000
"""A connection that lived for this long is no failed attempt."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What a line connects with the server."""

    ground: Ground
    incoming: Incoming
    outgoing: Outgoing


class Line:
    """One server's connection. Run `run()` in a task."""

    def __init__(
        self,
        name: str,
        ends: Ends,
        listener: LinkListener,
        connect: Callable[[LinkListener], Awaitable[BusLink]],
        *,
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.link: BusLink | None = None
        self.channels: set[bytes] = set()
        """What it is to bring."""
        self._ends = ends
        self._listener = listener
        self._connect = connect
        self._on_trouble = on_trouble

    def open(self) -> BusLink | None:
        """The connection, where there is one that takes publications now."""
        link = self.link
        return None if link is None or link.is_paused else link

    def subscribe(self, channel: bytes) -> None:
        self.channels.add(channel)
        if self.link is not None:
            self._ends.incoming.excuse(self._ends.ground.clock.monotonic_ms(), (channel,))
            self.link.subscribe(channel)

    def unsubscribe(self, channel: bytes) -> None:
        self.channels.discard(channel)
        if self.link is not None:
            self.link.unsubscribe(channel)

    async def run(self) -> None:
        """Keeps the connection until cancelled."""
        failures = 0
        clock = self._ends.ground.clock
        while True:
            try:
                link = await self._connect(self._listener)
            except UNAVAILABLE_ERRORS as error:
                self._ends.ground.warnings.warn("away", server=self.name, error=str(error))
            else:
                opened_at = clock.monotonic_ms()
                await self._use(link)
                if clock.monotonic_ms() - opened_at > STEADY_MS:
                    failures = 0
            longest = min(LONGEST_BACKOFF_S, 0.05 * 2**failures)
            failures += 1
            self._on_trouble()
            await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311  spreads reconnects, keeps no secret

    async def _use(self, link: BusLink) -> None:
        incoming, outgoing = self._ends.incoming, self._ends.outgoing
        self._ends.ground.metrics.connects.inc()
        self.link = link
        incoming.excuse(self._ends.ground.clock.monotonic_ms(), self.channels)
        for channel in self.channels:
            link.subscribe(channel)
        outgoing.reconnected()
        try:
            reason = await self._watch(link)
            self._ends.ground.warnings.warn("lost", server=self.name, reason=reason)
            self.link = None
            await link.abort()
        finally:
            # When cancelled: what was published in this turn still leaves.
            outgoing.flush()
            self.link = None
            incoming.unsubscribed(self.channels)
            await link.close()

    async def _watch(self, link: BusLink) -> str:
        """Returns when the link is of no use any more, with the reason."""
        incoming, clock = self._ends.incoming, self._ends.ground.clock
        silence_ms = self._ends.ground.limits.silence_ms
        looked_at = pinged_at = clock.monotonic_ms()
        while True:
            await asyncio.wait({link.lost}, timeout=WATCH_EVERY_MS / 1000)
            if link.lost.done():
                return "the connection was closed"
            now = clock.monotonic_ms()
            if now - looked_at > 2 * WATCH_EVERY_MS:
                # This process was stopped or busy. What came meanwhile may still be unread: blame nobody yet.
                link.excuse(now)
                incoming.excuse(now, self.channels)
            looked_at = now
            if link.stuck_ms(now) > silence_ms:
                return f"the store has not answered for {link.stuck_ms(now)} ms"
            reason = incoming.silence(now, self.channels)
            if reason is not None:
                return reason
            if now - pinged_at >= PING_EVERY_MS:
                pinged_at = now
                link.ping()
