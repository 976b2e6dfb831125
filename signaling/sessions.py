"""What a new socket meets: a greeting, and whoever opens sessions behind it.

Decides whether this node opens any at the moment, and for which releases of the clients' app.
"""

from base.errors import CloseCode
from signaling.chores import Chores
from signaling.connection import Connection
from signaling.draining import Draining
from signaling.greeting import FirstMessage, Greeting
from signaling.metrics import SessionMetrics
from signaling.opening import Opening
from signaling.standstill import Standstill
from signaling.upgrade import ConnectionInfo
from signaling.welcome import SessionPolicy


class Sessions:
    """Greets those who come."""

    def __init__(
        self,
        opening: Opening,
        policy: SessionPolicy,
        draining: Draining,
        standstill: Standstill,
        chores: Chores,
        metrics: SessionMetrics,
    ) -> None:
        self._opening = opening
        self._policy = policy
        self._draining = draining
        self._standstill = standstill
        self._chores = chores
        self._metrics = metrics

    def accept(self, connection: Connection, info: ConnectionInfo) -> Greeting:
        """Greets a new socket; it has 5 s to say who it is."""
        return Greeting(connection, info, self._begin, self._policy.limits.start_timeout_ms / 1000)

    def _begin(self, greeting: Greeting, first: FirstMessage) -> None:
        if self._draining.has_begun:
            greeting.close(CloseCode.DRAIN, "draining")
        elif not self._policy.least_versions.serves(first.client):
            self._metrics.handshakes.labels("version").inc()
            greeting.close(CloseCode.VERSION, "this version is not served any more")
        else:
            self._chores.run_soon(self._open(greeting, first))

    async def _open(self, greeting: Greeting, first: FirstMessage) -> None:
        await self._standstill.passed()
        await self._opening.open(greeting, first)
