"""How a client goes on with the session that it had: its socket, the replay, its place.

Decides whether a resume is complete; where it is not, the client is given a new session. Refuses to know where the session
is, and how it comes here (`signaling.resuming`).
"""

from functools import partial

import structlog

from accounts.model import Identity
from base.errors import CloseCode
from presence.sessions import SessionRow
from signaling.departures import Departures
from signaling.greeting import FirstMessage, Greeting
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.moved import MovedSession
from signaling.protocol.codec import Codec
from signaling.protocol.messages import session as wire
from signaling.regaining import Regaining
from signaling.resuming import Found, Outcome, Resuming, claim_of
from signaling.session_maker import SessionMaker
from signaling.welcome import Welcome

logger = structlog.get_logger(__name__)


class Returning:
    """Gives clients their sessions back."""

    def __init__(
        self,
        hub: Hub,
        maker: SessionMaker,
        resuming: Resuming,
        regaining: Regaining,
        departures: Departures,
        welcome: Welcome,
    ) -> None:
        self._hub = hub
        self._maker = maker
        self._resuming = resuming
        self._regaining = regaining
        self._departures = departures
        self._welcome = welcome

    async def resume(
        self, greeting: Greeting, first: wire.SessionResume, identity: Identity
    ) -> tuple[LiveSession | None, Outcome]:
        """The session, on the client's new socket; None where it cannot go on, and why.

        Raises: RegistrationRefused, Unavailable.
        """
        claim = claim_of(first, identity, lambda: greeting.gone)
        found = await self._resuming.bring(claim, partial(self._land, identity))
        live, outcome = (found.live, found.outcome) if isinstance(found, Found) else (None, found)
        if live is not None and greeting.gone:
            if outcome is Outcome.ELSEWHERE:
                await self._regaining.settle_in(live, moved=True)
            if not live.is_attached:
                # It has its minute to come back, here.
                self._departures.detached(live)
            outcome = Outcome.LEFT
        elif live is not None and not _can_go_on(live, greeting, first.last_seq):
            outcome = Outcome.INCOMPLETE
        match outcome:
            case Outcome.HERE | Outcome.ELSEWHERE if live is not None:
                self._go_on(live, greeting, first, identity)
                logger.info("session resumed", session_id=live.id, call_id=live.call_id, was=str(outcome))
                await self._regaining.settle_in(live, moved=outcome is Outcome.ELSEWHERE)
                return live, outcome
            case Outcome.NEWER:
                # Not 4501: should the client listen here after all, it is to try again.
                greeting.close(CloseCode.DRAIN, "resumed elsewhere")
            case Outcome.SUPERSEDED:
                greeting.close(CloseCode.SUPERSEDED, "superseded")
            case _:
                pass
        return None, outcome

    async def row_left(self, first: FirstMessage, identity: Identity) -> SessionRow | None:
        """The row that names this node for a session that did not come, so that somebody has to go on with it.

        Raises: Unavailable.
        """
        return await self._resuming.orphan(first, identity)

    async def bury(self, codec: Codec, first: FirstMessage, identity: Identity) -> None:
        """Ends a session whose row was set to this node, that did not come, and that is not begun anew either.

        Raises: Unavailable.
        """
        row = await self._resuming.orphan(first, identity)
        if row is not None:
            await self._departures.bury(self._maker.remains(row, identity, codec))

    def _land(self, identity: Identity, moved: MovedSession, generation: int) -> LiveSession:
        """Makes a session of what came from another node."""
        live = self._maker.moved(moved, identity, generation)
        self._hub.add(live)
        return live

    def _go_on(
        self, live: LiveSession, greeting: Greeting, first: wire.SessionResume, identity: Identity
    ) -> None:
        live.renew(identity)
        live.session.outbox.acknowledge(first.last_seq)
        live.attach(greeting.connection)
        live.push_reply(self._welcome.resumed(live, first.last_seq), greeting.request_id)
        live.replay(first.last_seq)
        self._hub.wake(live)
        greeting.pass_on(live)


def _can_go_on(live: LiveSession, greeting: Greeting, last_seq: int) -> bool:
    """Whether a replay on this socket would be complete."""
    session = live.session
    return live.can_resume and session.codec is greeting.codec and session.outbox.since(last_seq) is not None
