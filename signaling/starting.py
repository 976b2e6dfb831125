"""How a new session begins: its row, what its device was doing, and the greeting.

Decides what a device takes over from its session before. Refuses to know who may begin one, but hands on what the store
says of that.
"""

import structlog

from accounts.model import Identity
from base.errors import CloseCode
from base.ids import DeviceId
from presence.sessions import SessionRow
from signaling.departures import Departures
from signaling.greeting import Greeting
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.regaining import Regaining
from signaling.rows import Rows
from signaling.session_maker import SessionMaker
from signaling.welcome import Welcome

logger = structlog.get_logger(__name__)


class Starting:
    """Begins sessions on this node."""

    def __init__(
        self,
        hub: Hub,
        maker: SessionMaker,
        rows: Rows,
        regaining: Regaining,
        departures: Departures,
        welcome: Welcome,
    ) -> None:
        self._hub = hub
        self._maker = maker
        self._rows = rows
        self._regaining = regaining
        self._departures = departures
        self._welcome = welcome

    async def start(
        self,
        greeting: Greeting,
        device_id: DeviceId,
        identity: Identity,
        *,
        instead_of: SessionRow | None = None,
    ) -> LiveSession:
        """The new session, greeted where its client is still there; `instead_of`: only where that row still stands.

        Raises: RegistrationRefused, Unavailable.
        """
        session = self._maker.begun(greeting)
        registered = await self._rows.register(identity, device_id, session.id, instead_of)
        live = self._maker.live(session, identity, device_id, registered.generation)
        before = self._hub.on_device(live.user_id, device_id)
        if before is not None:
            before.hand_over()
            self._hub.remove(before)
        if registered.superseded is not None:
            self._departures.superseded(registered.superseded, live)
        live.away = registered.was_away
        self._hub.add(live)
        call = await self._regaining.take_over(live, before, registered)
        unread = await self._welcome.unread(live.user_id)
        if live.is_over:
            # Signed out, or begun anew elsewhere, while it was being opened. What it has taken over since goes, too.
            if not greeting.gone:
                greeting.close(live.ended_with or CloseCode.DRAIN, "over before it began")
            self._departures.over(live)
            return live
        if greeting.gone:
            # The client left while its session was being opened; it has its minute to come back.
            self._departures.detached(live)
            return live
        # From here to the greeting nothing may wait: whatever is told later comes after it.
        live.attach(greeting.connection, self._maker.head_start_ms())
        live.greet(self._welcome.ready(live, registered, call, unread), greeting.request_id)
        self._hub.wake(live)
        logger.info(
            "session started",
            session_id=live.id,
            user_id=live.user_id,
            subprotocol=session.codec.subprotocol,
            took_over=before is not None,
        )
        return live
