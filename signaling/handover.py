"""Sessions that move between nodes: the hands of `signaling.session.handover`.

Takes a session apart and puts it together, and carries what the state machines decide. Decides nothing but how many
sessions come here at once: each brings up to some hundred kilobytes over the bus, in pieces.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from base.clock import Clock
from base.ids import NodeId, SessionId
from signaling.call.record import decode
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.metrics import HandoverMetrics
from signaling.moved import MovedSession, decode_session, encode_session
from signaling.moving_calls import MovingCalls
from signaling.node_frames import (
    NodeFrame,
    SessionForwarded,
    SessionGone,
    SessionState,
    SessionTaken,
    SessionWanted,
    encode_frame,
)
from signaling.protocol.codec import CODECS
from signaling.router import Router
from signaling.session import crossing_effects
from signaling.session.crossing_effects import Refusal
from signaling.session.handover import FORWARDED_MS, HELD_FRAMES, LOOK_MS, Crossing
from signaling.watches import Watches

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 64
"""So many sessions come to this node at a time; the others wait for their turn."""
STOOD_STILL_MS: Final = 150
"""Whoever looks so late has had no turn for a while, and does not blame others for the time; it looks again so much later."""
SILENT_MS: Final = 4_000
"""For how long a node that did not answer once is taken to be dead: until its lease has ended, if it is."""

Land = Callable[[MovedSession, int], LiveSession]
"""Makes a session of what arrived, under this generation; it is on the hub when this returns."""
Leave = Callable[[LiveSession], None]
"""Told of a session that is not here any more."""


@dataclass(slots=True)
class _Waiter:
    """Who waits here for a session."""

    land: Land
    result: "asyncio.Future[LiveSession | Refusal]"


class Handovers:
    """The sessions that are on their way here, or have left within the last minute."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        clock: Clock,
        calls: MovingCalls,
        *,
        watches: Watches,
        metrics: HandoverMetrics,
    ) -> None:
        self._hub = hub
        self._router = router
        self._clock = clock
        self._calls = calls
        self._watches = watches
        self._metrics = metrics
        self._crossings: dict[SessionId, Crossing] = {}
        self._waiters: dict[SessionId, _Waiter] = {}
        self._timers: dict[SessionId, asyncio.TimerHandle] = {}
        self._expected: dict[SessionId, list[bytes]] = {}
        """What came for sessions whose rows are being set to this node."""
        self._silent_until: dict[NodeId, int] = {}
        """Nodes that are not asked again for a while."""
        self.room = asyncio.Semaphore(AT_ONCE)
        """To be held by whoever claims a session that is elsewhere, until it is here."""
        self.receive: Callable[[bytes], None] = lambda _payload: None
        """Takes a frame that was held or sent on; set by whoever takes frames."""
        self.left: Leave = lambda _live: None
        """Told of a session that went to another node."""
        self.stayed: Leave = lambda _live: None
        """Told of a session that was to go, and has no socket any more because of that."""
        router.catch_strays(self.stray)
        metrics.awaited.set_function(lambda: sum(one.is_awaited for one in self._crossings.values()))

    # What sessions want.

    @contextmanager
    def expecting(self, session_id: SessionId) -> Iterator[None]:
        """Holds what arrives for a session while its row is being set to this node: others may find it there, and write to
        it here, before this node hears of it. What `take` does not get is nobody's."""
        self._expected[session_id] = []
        try:
            yield
        finally:
            self._expected.pop(session_id, None)

    def expects(self, session_id: SessionId) -> bool:
        """Whether the row of a session is being set to this node; nobody else is to do the same meanwhile."""
        return session_id in self._expected

    async def take(
        self, session_id: SessionId, generation: int, holder: NodeId, land: Land
    ) -> LiveSession | Refusal:
        """Brings a session here whose row is ours under `generation`, and was `holder`'s; or says why it does not come.

        Whoever waited for the same session before is told `newer`.
        """
        started = self._clock.monotonic_ms()
        if self._silent_until.get(holder, 0) > started:
            # With a hub dies a crowd of sessions: not each of them may take a second to find out.
            self._router.forward(holder, SessionTaken(session_id, generation))
            return Refusal.NO_ANSWER
        self._dismiss(session_id, Refusal.NEWER)
        waiter = _Waiter(land, asyncio.get_running_loop().create_future())
        self._waiters[session_id] = waiter
        crossing = self._crossing(session_id)
        self._do(crossing, crossing.claimed(generation, holder, started))
        for payload in self._expected.pop(session_id, ()):
            self._do(crossing, crossing.caught(payload))
        try:
            result = await waiter.result
        finally:
            if self._waiters.get(session_id) is waiter:
                del self._waiters[session_id]
        now_ms = self._clock.monotonic_ms()
        if isinstance(result, LiveSession):
            self._metrics.seconds.observe((now_ms - started) / 1000)
            self._silent_until.pop(holder, None)
        elif result is Refusal.NO_ANSWER and holder != self._router.node_id:
            self._silent_until = {one: at for one, at in self._silent_until.items() if at > now_ms}
            self._silent_until[holder] = now_ms + SILENT_MS
        return result

    def awaits(self, session_id: SessionId) -> bool:
        """Whether the session is on its way here."""
        crossing = self._crossings.get(session_id)
        return crossing is not None and crossing.is_awaited

    def knows_of(self, session_id: SessionId) -> bool:
        """Whether the session is on its way here, or about to be asked for, or went from here to another node."""
        return self.expects(session_id) or self.awaits(session_id) or self.went_to(session_id) is not None

    def went_to(self, session_id: SessionId) -> NodeId | None:
        """Where a session went that was here within the last minute."""
        crossing = self._crossings.get(session_id)
        return None if crossing is None else crossing.went_to

    def kept(self, session_id: SessionId, generation: int) -> None:
        """The session's client is back, here, under this generation: nobody with an older one gets it."""
        crossing = self._crossings.get(session_id)
        if crossing is not None:
            self._do(crossing, crossing.kept(generation))

    def taken(self, session_id: SessionId, generation: int) -> None:
        """The device has a newer session elsewhere."""
        crossing = self._crossings.get(session_id)
        if crossing is not None:
            self._do(crossing, crossing.taken(generation))

    # What other nodes say.

    def wanted(self, frame: SessionWanted) -> None:
        """Another node claims a session."""
        session_id = SessionId(frame.session_id)
        live = self._hub.session(session_id)
        here = None if live is None or live.is_over else live.generation
        crossing = self._crossing(session_id)
        self._do(crossing, crossing.wanted(frame, self._clock.monotonic_ms(), here))

    def arrived(self, frame: SessionState) -> None:
        """A piece of a session arrives."""
        crossing = self._crossings.get(SessionId(frame.session_id))
        if crossing is not None:
            self._do(crossing, crossing.piece(frame, self._clock.monotonic_ms()))

    def refused(self, frame: SessionGone) -> None:
        """A session does not come."""
        crossing = self._crossings.get(SessionId(frame.session_id))
        if crossing is not None:
            self._do(crossing, crossing.refused(frame, self._clock.monotonic_ms()))

    def forwarded(self, frame: SessionForwarded) -> bytes | None:
        """The frame that was sent on to here, where its session is here; else it goes on, waits, or is lost."""
        session_id = SessionId(frame.session_id)
        crossing = self._crossings.get(session_id)
        if crossing is not None and crossing.catches:
            self._do(crossing, crossing.caught(frame.frame, frame.hops))
            return None
        if self._hub.session(session_id) is not None:
            return frame.frame
        self._expect(session_id, frame.frame)
        return None

    def stray(self, session_id: SessionId, frame: NodeFrame) -> bool:
        """Catches a frame for a session that is not here yet, or not any more; false where nobody knows of it."""
        crossing = self._crossings.get(session_id)
        if crossing is None or not crossing.catches:
            return self._expect(session_id, encode_frame(frame))
        self._do(crossing, crossing.caught(encode_frame(frame)))
        return True

    # How it goes on inside.

    def _expect(self, session_id: SessionId, payload: bytes) -> bool:
        early = self._expected.get(session_id)
        if early is None:
            return False
        # One more than a crossing holds, which then knows that it has not got everything.
        if len(early) <= HELD_FRAMES:
            early.append(payload)
        return True

    def _crossing(self, session_id: SessionId) -> Crossing:
        crossing = self._crossings.get(session_id)
        if crossing is None:
            crossing = self._crossings[session_id] = Crossing(session_id, self._router.node_id)
        return crossing

    def _do(self, crossing: Crossing, effects: list[crossing_effects.Effect]) -> None:
        for effect in effects:
            match effect:
                case crossing_effects.Send(node_id, frame):
                    if isinstance(frame, SessionForwarded):
                        self._metrics.forwarded.inc()
                    self._router.forward(node_id, frame)
                case crossing_effects.Freeze():
                    live = self._hub.session(crossing.session_id)
                    if live is not None:
                        live.freeze()
                    self._look(crossing, None)
                case crossing_effects.Give():
                    self._give(crossing)
                case crossing_effects.Land():
                    self._land(crossing.session_id, effect)
                case crossing_effects.GiveUp(reason):
                    self._dismiss(crossing.session_id, reason)
        self._watch(crossing)

    def _watch(self, crossing: Crossing) -> None:
        session_id = crossing.session_id
        if self._crossings.get(session_id) is not crossing:
            return
        timer = self._timers.pop(session_id, None)
        if timer is not None:
            timer.cancel()
        look_at = crossing.look_at
        if look_at is None:
            del self._crossings[session_id]
            return
        now_ms = self._clock.monotonic_ms()
        due_at = now_ms + LOOK_MS if crossing.is_leaving else max(now_ms, look_at)
        self._timers[session_id] = asyncio.get_running_loop().call_later(
            (due_at - now_ms) / 1000, self._look, crossing, due_at
        )

    def _look(self, crossing: Crossing, due_at: int | None) -> None:
        """What is due at a moment; None: now, however late it is."""
        live = self._hub.session(crossing.session_id)
        busy = live is not None and live.is_busy
        was_leaving = crossing.is_leaving
        is_late = due_at is not None and self._clock.monotonic_ms() - due_at >= STOOD_STILL_MS
        if is_late and (busy or not was_leaving):
            # It was this process that stood still: what is waited for may be here, and only has to have its turn.
            self._timers[crossing.session_id] = asyncio.get_running_loop().call_later(
                STOOD_STILL_MS / 1000, self._look, crossing, None
            )
            return
        self._do(crossing, crossing.look(self._clock.monotonic_ms(), busy=busy))
        is_here = live is not None and self._hub.session(crossing.session_id) is live
        if live is not None and is_here and was_leaving and not crossing.is_leaving and not live.is_attached:
            self.stayed(live)

    def _give(self, crossing: Crossing) -> None:
        live = self._hub.session(crossing.session_id)
        if live is None or live.is_over:
            self._do(crossing, crossing.ended())
            return
        state = encode_session(self._packed(live))
        self._hub.remove(live)
        live.depart()
        self._watches.unwatch(live, None)
        if live.call_id is not None:
            self._calls.departed(live.call_id)
        self._metrics.given.inc()
        logger.info(
            "session given to another node", session_id=live.id, call_id=live.call_id, bytes=len(state)
        )
        self._do(crossing, crossing.given(state, self._clock.monotonic_ms()))
        self.left(live)

    def _packed(self, live: LiveSession) -> MovedSession:
        return MovedSession(
            session_id=live.id,
            user_id=live.user_id,
            device_id=live.device_id,
            session=live.session.facts(self._clock.monotonic_ms()),
            complete=live.can_resume,
            away=live.away,
            ticket=live.ticket,
            call_id=live.call_id,
            last_call_id=live.last_call_id,
            call=None if live.call_id is None else self._calls.known(live.call_id, live.user_id),
            watched=dict(self._watches.of(live)),
        )

    def _land(self, session_id: SessionId, landed: crossing_effects.Land) -> None:
        waiter = self._waiters.pop(session_id, None)
        if waiter is None or waiter.result.done():
            return  # this process is ending
        result: LiveSession | Refusal = Refusal.GONE
        try:
            result = self._put_together(session_id, landed, waiter.land)
        except msgspec.MsgspecError as error:
            logger.warning("session of another release", session_id=session_id, error=str(error))
        except Exception:
            # Broad: whoever waits has to be answered, whatever is wrong with this one session.
            logger.exception("session did not land", session_id=session_id)
        waiter.result.set_result(result)
        if isinstance(result, LiveSession):
            for payload in landed.held:
                self.receive(payload)

    def _put_together(self, session_id: SessionId, landed: crossing_effects.Land, land: Land) -> LiveSession:
        moved = decode_session(landed.state)
        if moved.session.subprotocol not in CODECS:
            raise msgspec.ValidationError(moved.session.subprotocol)
        call = None if moved.call is None else decode(moved.call.record)
        live = land(moved, landed.generation)
        self._router.welcome(session_id)
        asyncio.get_running_loop().call_later(FORWARDED_MS / 1000, self._router.settled, session_id)
        try:
            if moved.call is not None and call is not None:
                self._calls.take_in(moved.call, call, live)
            self._watches.watch(live, moved.watched)
        except Exception:
            # Broad, and passed on: no half of a session may stay here.
            self._hub.remove(live)
            live.depart()
            raise
        if not landed.complete:
            live.lose_messages()
        return live

    def _dismiss(self, session_id: SessionId, reason: Refusal) -> None:
        waiter = self._waiters.pop(session_id, None)
        if waiter is not None and not waiter.result.done():
            waiter.result.set_result(reason)
