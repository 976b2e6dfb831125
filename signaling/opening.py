"""From a client's first message to its session.

Decides who is let in, and what is answered to who is not. Refuses to know how a session begins (`signaling.starting`) and how
one goes on (`signaling.returning`).
"""

import asyncio
from functools import partial
from typing import Final

import structlog

from accounts.model import Identity
from base.errors import CloseCode, MinuetError, Unavailable
from base.ids import DeviceId
from presence.errors import RegistrationRefused, TokenRevoked
from signaling.authentication import Authentication, close_code_for
from signaling.chores import Chores
from signaling.greeting import FirstMessage, Greeting
from signaling.live_session import LiveSession
from signaling.metrics import SessionMetrics
from signaling.protocol.codec import Codec
from signaling.protocol.messages.session import SessionResume
from signaling.returning import Returning
from signaling.rows import Health
from signaling.session_shell import DETACHED_MS
from signaling.starting import Starting

logger = structlog.get_logger(__name__)

_PUT_BACK_S: Final = 5.0


class Opening:
    """Opens sessions."""

    def __init__(
        self,
        authentication: Authentication,
        health: Health,
        starting: Starting,
        returning: Returning,
        chores: Chores,
        metrics: SessionMetrics,
    ) -> None:
        self._authentication = authentication
        self._health = health
        self._starting = starting
        self._returning = returning
        self._chores = chores
        self._metrics = metrics
        self._let_in = metrics.handshakes.labels("ok")

    async def open(self, greeting: Greeting, first: FirstMessage) -> None:
        """Gives the client its session, or says why not. Raises nothing."""
        identity = None
        try:
            # What is forged is refused without asking anybody.
            identity = self._authentication.read(first.token or greeting.info.bearer_token)
            await self._store_settled()
            live = await self._session_for(greeting, first, identity)
        except RegistrationRefused as refused:
            # A token that was taken back before is as good as none, whoever finds that out.
            is_void = isinstance(refused, TokenRevoked)
            self._refuse(greeting, close_code_for(refused) if is_void else refused.close_code, refused)
            if identity is not None:
                self._chores.run_soon(self._returning.bury(greeting.codec, first, identity))
        except MinuetError as error:
            self._refuse(greeting, close_code_for(error), error)
            self._bury_later(greeting.codec, first, identity)
        except Exception:
            # Broad: the boundary of a greeting. Without an answer the client would wait for its session.
            logger.exception("session did not open", device_id=first.device_id)
            self._refuse(greeting, CloseCode.INTERNAL, MinuetError())
            self._bury_later(greeting.codec, first, identity)
        else:
            if live is not None:
                greeting.pass_on(live)

    async def _session_for(
        self, greeting: Greeting, first: FirstMessage, identity: Identity
    ) -> LiveSession | None:
        if isinstance(first, SessionResume):
            await self._authentication.check(identity)
            live, outcome = await self._returning.resume(greeting, first, identity)
            self._metrics.resumes.labels(outcome).inc()
            if live is not None:
                return live
        row = None
        if greeting.gone and (row := await self._returning.row_left(first, identity)) is None:
            return None
        # Also for a client that has left again: the session has its minute then, and clears everything up. But not where it
        # has come anew already, on another socket.
        self._authentication.refuse_unknown()
        live = await self._starting.start(greeting, DeviceId(first.device_id), identity, instead_of=row)
        if live.is_attached:
            self._let_in.inc()
        return live

    def _bury_later(self, codec: Codec, first: FirstMessage, identity: Identity | None) -> None:
        """Ends what a resume has left that failed half-way, unless the client comes again in the time that it has."""
        if identity is None or not isinstance(first, SessionResume):
            return
        bury = partial(self._returning.bury, codec, first, identity)
        # No chore yet: nobody who drains is to wait for it.
        asyncio.get_running_loop().call_later(DETACHED_MS / 1000, lambda: self._chores.run_soon(bury()))

    async def _store_settled(self) -> None:
        """Waits until the store has what it lost: before that a device would find nothing of its call and its place.

        Raises: Unavailable.
        """
        if await self._health.is_whole():
            return
        try:
            async with asyncio.timeout(_PUT_BACK_S):
                await self._health.sure()
        except TimeoutError as error:
            wait_ms = self._health.restoring_ms()
            raise Unavailable("what the store has lost is being put back", retry_after_ms=wait_ms) from error

    def _refuse(self, greeting: Greeting, close_code: CloseCode, error: MinuetError) -> None:
        self._metrics.handshakes.labels(str(error.code)).inc()
        if not greeting.gone:
            greeting.refuse(close_code, error)
