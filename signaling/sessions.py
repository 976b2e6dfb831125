"""How sessions come, come back and go.

Decides who is let in and what a device takes over: its queue ticket, its call. Refuses to know what a ticket or a
call does; those are told that a device is there, is away, or has left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from random import Random
from typing import Any, Final

import structlog

from accounts.model import Identity
from base.clock import ServerClock
from base.errors import CloseCode, MinuetError, Unavailable
from base.ids import ConnectionId, DeviceId, IdFactory, SessionId, UserId
from matchmaker.lobby import Lobby
from presence.errors import RegistrationRefused, TokenRevoked
from presence.registry import Registry
from presence.sessions import Registered, Registration
from signaling.authentication import Authentication, close_code_for
from signaling.connection import Connection
from signaling.greeting import FirstMessage, Greeting
from signaling.handover import Handovers
from signaling.hub import Hub
from signaling.leaving import Leaving, insist
from signaling.live_session import LiveSession
from signaling.metrics import SessionMetrics
from signaling.moved import MovedSession
from signaling.node_frames import SessionTaken
from signaling.protocol.codec import CODECS
from signaling.protocol.messages import session as wire
from signaling.regaining import Calls, Regaining
from signaling.resuming import Found, Outcome, Resuming, claim_of
from signaling.router import Router
from signaling.rows import Rows, registration_for
from signaling.session.heartbeat import IDLE_BEAT
from signaling.session.session import Session
from signaling.session_shell import Dispatcher, SessionShell
from signaling.tickets import Tickets
from signaling.upgrade import ConnectionInfo
from signaling.welcome import SessionPolicy, session_ready

logger = structlog.get_logger(__name__)

_DRAIN_SPREAD_MS: Final = 3_000
"""Within this they come back where all are sent away at once."""
_DRAIN_WITHIN_MS: Final = 1_000
"""And where they are sent away one after the other."""
_DRAIN_WAVE_S: Final = 0.02
_REASSERTED_AT_ONCE: Final = 100
_PUT_BACK_S: Final = 5.0


Unread = Callable[[UserId], Awaitable[Mapping[ConnectionId, int] | None]]
"""How many messages a user has not read, by connection; None where nobody knows. Answers soon and raises nothing."""


class Sessions:
    """Opens, resumes and ends the sessions of this node; the `Lifecycle` of each."""

    def __init__(  # the services a session stands on; grouping them would only hide the number
        self,
        hub: Hub,
        router: Router,
        policy: SessionPolicy,
        dispatcher: Dispatcher,
        metrics: SessionMetrics,
        *,
        authentication: Authentication,
        registry: Registry,
        lobby: Lobby,
        tickets: Tickets,
        calls: Calls,
        handovers: Handovers,
        rows: Rows,
        unread: Unread,
        clock: ServerClock,
        ids: IdFactory,
        random: Random,
    ) -> None:
        self._hub = hub
        self._router = router
        self._policy = policy
        self._metrics = metrics
        self._let_in = metrics.handshakes.labels("ok")
        self._authentication = authentication
        self._registry = registry
        self._lobby = lobby
        self._tickets = tickets
        self._handovers = handovers
        self._rows = rows
        handovers.left, handovers.stayed = self.left, self.detached
        self._leaving = Leaving(router, registry, tickets, calls)
        self._regaining = Regaining(router, registry, tickets, calls)
        self._resuming = Resuming(hub, router, registry, handovers)
        self._unread = unread
        self._clock = clock
        self._ids = ids
        self._random = random
        self._shell = SessionShell(
            clock, policy.limits, dispatcher, self, metrics, policy.strict, hub.standstill
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = False
        self._working = 0
        """How many pieces of work of sessions are under way."""

    async def run(self) -> None:
        """Serves sessions until cancelled: their commands, their timers, the check of their tickets."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._hub.keep_time())
            tasks.create_task(self._tickets.check())
            tasks.create_task(self._tickets.keep_places())

    # Coming.

    def accept(self, connection: Connection, info: ConnectionInfo) -> Greeting:
        """Greets a new socket; it has 5 s to say who it is."""
        return Greeting(connection, info, self._begin, self._policy.limits.start_timeout_ms / 1000)

    def _begin(self, greeting: Greeting, first: FirstMessage) -> None:
        if self._draining:
            greeting.close(CloseCode.DRAIN, "draining")
            return
        if not self._policy.least_versions.serves(first.client):
            self._metrics.handshakes.labels("version").inc()
            greeting.close(CloseCode.VERSION, "this version is not served any more")
            return
        self.run_soon(self._open(greeting, first))

    async def _open(self, greeting: Greeting, first: FirstMessage) -> None:
        await self._hub.standstill.passed()
        identity = None
        try:
            # What is forged is refused without asking anybody.
            identity = self._authentication.read(first.token or greeting.info.bearer_token)
            await self._store_settled()
            live = None
            if isinstance(first, wire.SessionResume):
                await self._authentication.check(identity)
                live = await self._resume(greeting, first, identity)
            if live is None and (not greeting.gone or await self._resuming.orphan(first, identity)):
                # Also for a client that has left again: the session has its minute then, and clears everything up.
                live = await self._start(greeting, first, identity)
        except RegistrationRefused as refused:
            # A token that was taken back before is as good as none, whoever finds that out.
            is_void = isinstance(refused, TokenRevoked)
            self._refuse(greeting, close_code_for(refused) if is_void else refused.close_code, refused)
            if identity is not None:
                self.run_soon(self._bury(greeting, first, identity))
        except MinuetError as error:
            self._refuse(greeting, close_code_for(error), error)
        except Exception:
            logger.exception("session did not open", device_id=first.device_id)
            self._refuse(greeting, CloseCode.INTERNAL, MinuetError())
        else:
            if live is not None and not live.is_over:
                for payload, binary in greeting.hand_over():
                    live.message_received(payload, binary)

    async def _bury(self, greeting: Greeting, first: FirstMessage, identity: Identity) -> None:
        """Ends a session whose row was set to this node, that did not come, and that may not be begun anew either."""
        row = await self._resuming.orphan(first, identity)
        if row is None:
            return
        session = Session(row.session_id, greeting.codec, self._policy.limits, self._clock.monotonic_ms())
        live = LiveSession(self._shell, session, identity, row.device_id, row.generation)
        live.call_id = await self._lobby.call_of(live.user_id, live.device_id)
        live.is_over = True
        logger.info("session is over that did not come", session_id=live.id, call_id=live.call_id)
        await self._leaving.say_farewell(live)

    async def _store_settled(self) -> None:
        """Waits until the store has what it lost: before that a device would find nothing of its call and its place.

        Raises: Unavailable.
        """
        health = self._rows.health
        if await health.is_whole():
            return
        try:
            async with asyncio.timeout(_PUT_BACK_S):
                await health.sure()
        except TimeoutError as error:
            wait_ms = health.restoring_ms()
            raise Unavailable("what the store has lost is being put back", retry_after_ms=wait_ms) from error

    def _refuse(self, greeting: Greeting, close_code: CloseCode, error: MinuetError) -> None:
        self._metrics.handshakes.labels(str(error.code)).inc()
        if not greeting.gone:
            greeting.refuse(close_code, error)

    async def _start(self, greeting: Greeting, first: FirstMessage, identity: Identity) -> LiveSession:
        device_id = DeviceId(first.device_id)
        session = Session(
            SessionId(self._ids.new()), greeting.codec, self._policy.limits, self._clock.monotonic_ms()
        )
        session.last_id = greeting.request_id or 0
        self._authentication.refuse_unknown()
        registered = await self._registry.register(self._registration(identity, device_id, session.id))
        live = LiveSession(self._shell, session, identity, device_id, registered.generation)
        before = self._hub.on_device(live.user_id, device_id)
        if before is not None:
            before.hand_over()
            self._hub.remove(before)
        self._supersede(live, registered)
        live.away = registered.was_away
        self._hub.add(live)
        call = await self._regaining.take_over(live, before, registered)
        unread = await self._unread(live.user_id)
        if live.is_over:
            # Signed out, or begun anew elsewhere, while it was being opened. What it has taken over since goes, too.
            if not greeting.gone:
                greeting.close(live.ended_with or CloseCode.DRAIN, "over before it began")
            self.run_soon(self._leaving.say_farewell(live))
            return live
        if greeting.gone:
            # The client left while its session was being opened; it has its minute to come back.
            self.detached(live)
            return live
        # From here to the greeting nothing may wait: whatever is told later comes after it.
        live.attach(greeting.connection, self._random.randrange(IDLE_BEAT.silence_ms))
        ready = session_ready(live, registered, call, unread, self._policy, self._clock.now_ms())
        live.greet(ready, greeting.request_id)
        self._hub.wake(live)
        self._let_in.inc()
        logger.info(
            "session started",
            session_id=live.id,
            user_id=live.user_id,
            subprotocol=session.codec.subprotocol,
            took_over=before is not None,
        )
        return live

    async def _resume(
        self, greeting: Greeting, first: wire.SessionResume, identity: Identity
    ) -> LiveSession | None:
        claim = claim_of(first, identity, lambda: greeting.gone)
        found = await self._resuming.bring(claim, partial(self._land, identity))
        live, outcome = (found.live, found.outcome) if isinstance(found, Found) else (None, found)
        if live is not None and greeting.gone:
            if outcome is Outcome.ELSEWHERE:
                await self._settle_in(live, moved=True)
            if not live.is_attached:
                # It has its minute to come back, here.
                self.detached(live)
            outcome = Outcome.LEFT
        elif live is not None and not _can_go_on(live, greeting, first.last_seq):
            outcome = Outcome.INCOMPLETE
        self._metrics.resumes.labels(outcome).inc()
        match outcome:
            case Outcome.HERE | Outcome.ELSEWHERE if live is not None:
                self._go_on(live, greeting, first, identity)
                logger.info("session resumed", session_id=live.id, call_id=live.call_id, was=str(outcome))
                await self._settle_in(live, moved=outcome is Outcome.ELSEWHERE)
                return live
            case Outcome.NEWER:
                # Not 4501: should the client listen here after all, it is to try again.
                greeting.close(CloseCode.DRAIN, "resumed elsewhere")
            case Outcome.SUPERSEDED:
                greeting.close(CloseCode.SUPERSEDED, "superseded")
            case _:
                pass
        return None

    def _land(self, identity: Identity, moved: MovedSession, generation: int) -> LiveSession:
        """Makes a session of what came from another node."""
        codec = CODECS[moved.session.subprotocol]
        limits, now_ms = self._policy.limits, self._clock.monotonic_ms()
        session = Session(SessionId(moved.session_id), codec, limits, now_ms)
        live = LiveSession(self._shell, session, identity, moved.device_id, generation)
        live.go_on(moved)
        self._hub.add(live)
        return live

    def _go_on(
        self, live: LiveSession, greeting: Greeting, first: wire.SessionResume, identity: Identity
    ) -> None:
        live.renew(identity)
        live.session.outbox.acknowledge(first.last_seq)
        live.attach(greeting.connection)
        live.push_reply(
            wire.SessionResumed(
                session_id=live.id,
                replay_from=first.last_seq,
                last_id=live.session.last_id,
                token_expires_at=identity.expires_at_ms,
                server_now=self._clock.now_ms(),
            ),
            greeting.request_id,
        )
        live.replay(first.last_seq)
        self._hub.wake(live)

    async def _settle_in(self, live: LiveSession, *, moved: bool) -> None:
        """Puts a session that is back into its call or queue; where the store is away, as soon as that is back."""
        try:
            await self._put_back(live, moved=moved)
        except Unavailable:
            self.run_soon(insist(live, partial(self._put_back, live, moved=moved)))

    async def _put_back(self, live: LiveSession, *, moved: bool) -> None:
        # At once: what the client asks next is to be decided by a call that knows that it is back.
        await self._regaining.come_back(live)
        if not moved or live.is_over:
            return
        try:
            # A sign-out or ban that was told while the session was on no node.
            await self._authentication.check(live.identity)
        except Unavailable:
            raise
        except MinuetError as error:
            live.end(CloseCode.REVOKED, str(error.code))

    def _supersede(self, live: LiveSession, registered: Registered) -> None:
        row = registered.superseded
        if row is None:
            return
        if row.node_id != self._router.node_id:
            self._router.forward(row.node_id, SessionTaken(row.session_id, registered.generation))
            return
        self._handovers.taken(row.session_id, registered.generation)
        # The row is the new session's: this takes the one before it off the list of the node's sessions.
        self.run_soon(self._leaving.unlist_quietly(live, row.node_id, row.session_id))

    # Going. What a session tells of itself.

    def detached(self, live: LiveSession) -> None:
        self._hub.wake(live)
        self.run_soon(self._leaving.step_away(live))

    def ended(self, live: LiveSession, reason: str) -> None:
        self._hub.remove(live)
        logger.info("session ended", session_id=live.id, reason=reason, call_id=live.call_id)
        self.run_soon(self._leaving.say_farewell(live))

    def left(self, live: LiveSession) -> None:
        """The session is on another node now."""
        self.run_soon(self._leaving.unlist_quietly(live, self._router.node_id))

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            work.close()
            raise RuntimeError("sessions are not being served")
        self._working += 1
        self._tasks.create_task(self._work(work))

    async def _work(self, work: Coroutine[Any, Any, None]) -> None:
        # One session's failure must not end the task group that serves all of them.
        try:
            await work
        except Exception:
            logger.exception("work of a session failed")
        finally:
            self._working -= 1

    # The node.

    def taken(self, session_id: SessionId, generation: int = 0) -> None:
        """The session's device has a newer one on another node, under this generation; 0: it was not told."""
        self._handovers.taken(session_id, generation)
        live = self._hub.session(session_id)
        if live is not None and not 0 < generation <= live.generation:
            live.hand_over()
            self._hub.remove(live)
            self.run_soon(self._leaving.unlist_quietly(live, self._router.node_id))
            if live.call_id is not None:
                # Its budget was kept here: the node that goes on with the call has to learn what is left of it.
                self.run_soon(self._leaving.step_away(live))

    async def drain(self, timeout_s: float, *, over_s: float = 0.0) -> None:
        """Lets nobody in any more and sends everybody elsewhere, each with another delay.

        One after the other `over_s`, where there are nodes to take them; each is served until its turn. Waits at most
        `timeout_s` more for the last to have gone.
        """
        self._draining = True
        everybody = list(self._hub)
        # Those who came together do not leave together.
        self._random.shuffle(everybody)
        waves = max(1, round(over_s / _DRAIN_WAVE_S))
        for wave in range(waves):
            for live in everybody[wave::waves]:
                if not live.is_over:
                    self._send_away(live, _DRAIN_WITHIN_MS if over_s else _DRAIN_SPREAD_MS)
            if wave + 1 < waves:
                await asyncio.sleep(_DRAIN_WAVE_S)
        deadline = self._clock.monotonic_ms() + round(timeout_s * 1000)
        # Until the last has gone to another node. Any of thousands may be that: looking is cheaper than being told by each.
        while (self._working or len(self._hub)) and self._clock.monotonic_ms() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _send_away(self, live: LiveSession, within_ms: int) -> None:
        live.push(wire.SessionDrain(reconnect_after_ms=self._random.randrange(within_ms)))
        live.close(CloseCode.DRAIN, "draining")

    async def reassert_all(self) -> None:
        """Registers every session again, for a new incarnation of this node. Raises: Unavailable."""
        everybody = tuple(self._hub)
        for start in range(0, len(everybody), _REASSERTED_AT_ONCE):
            share = everybody[start : start + _REASSERTED_AT_ONCE]
            for result in await asyncio.gather(*map(self._reassert, share), return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    async def _reassert(self, live: LiveSession) -> None:
        if not await self._rows.register_again(live):
            return
        if live.is_attached or live.call_id is not None:
            await self._regaining.come_back(live)
        if not live.is_attached:
            # It is this node's again, and away as before.
            await self._leaving.step_away(live)

    def _registration(self, identity: Identity, device_id: DeviceId, session_id: SessionId) -> Registration:
        return registration_for(identity, device_id, session_id, self._router.node_id)


def _can_go_on(live: LiveSession, greeting: Greeting, last_seq: int) -> bool:
    """Whether a replay on this socket would be complete."""
    session = live.session
    return live.can_resume and session.codec is greeting.codec and session.outbox.since(last_seq) is not None
