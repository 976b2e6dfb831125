"""How a node sends its people elsewhere before it ends: one after the other, each with another delay.

Decides when whose turn is. Refuses to know where they go.
"""

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from base.clock import Clock
from base.errors import CloseCode
from signaling.chores import Chores
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.protocol.messages.session import SessionDrain

_SPREAD_MS: Final = 3_000
"""Within this they come back where all are sent away at once."""
_WITHIN_MS: Final = 1_000
"""And where they are sent away one after the other."""
_WAVE_S: Final = 0.02
_LOOK_S: Final = 0.02


class Draining:
    """The end of all sessions of this node."""

    def __init__(self, hub: Hub, chores: Chores, clock: Clock, random: Random) -> None:
        self._hub = hub
        self._chores = chores
        self._clock = clock
        self._random = random
        self.has_begun = False
        """Whether nobody is let in any more."""
        self.owes: Callable[[], bool] = lambda: False
        """Whether something that was told is still to be stored, and nobody else knows of it; set by whoever does."""

    async def drain(self, timeout_s: float, *, over_s: float = 0.0) -> None:
        """Lets nobody in any more and sends everybody elsewhere, each with another delay.

        One after the other `over_s`, where there are nodes to take them; each is served until its turn. Waits at most
        `timeout_s` more for the last to have gone, and for what was told to be stored.
        """
        self.has_begun = True
        everybody = list(self._hub)
        # Those who came together do not leave together.
        self._random.shuffle(everybody)
        within_ms = _WITHIN_MS if over_s else _SPREAD_MS
        waves = max(1, round(over_s / _WAVE_S))
        for wave in range(waves):
            self._send_away(everybody[wave::waves], within_ms)
            if wave + 1 < waves:
                await asyncio.sleep(_WAVE_S)
        deadline = self._clock.monotonic_ms() + round(timeout_s * 1000)
        # Until the last has gone to another node. Any of thousands may be that: looking is cheaper than being told by each.
        while (
            self._chores.number or len(self._hub) or self.owes()
        ) and self._clock.monotonic_ms() < deadline:
            # Also who was just being let in as this began.
            self._send_away(self._hub, within_ms)
            await asyncio.sleep(_LOOK_S)

    def _send_away(self, sessions: Iterable[LiveSession], within_ms: int) -> None:
        for live in sessions:
            if live.is_attached:
                live.push(SessionDrain(reconnect_after_ms=self._random.randrange(within_ms)))
                live.close(CloseCode.DRAIN, "draining")
