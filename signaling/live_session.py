"""A session on this node: the pure session, the socket it has at the moment, and its commands in order.

Decides what becomes of its client's messages while sockets come and go, and when a session that has none is over. Refuses
to know what a command does, in which order commands are done (`signaling.errands`), and how things are said
(`signaling.outlet`).
"""

from collections.abc import Coroutine
from typing import Any

from accounts.model import Identity
from base.errors import CloseCode, ErrorCode, MinuetError
from base.ids import CallId, DeviceId, SessionId, UserId
from matchmaker.ticket import Ticket
from signaling.connection import Connection
from signaling.errands import Errands
from signaling.moved import MovedSession
from signaling.outlet import Outlet, cut_off
from signaling.protocol.codec import InvalidMessage, Request
from signaling.protocol.messages import session as wire
from signaling.session.heartbeat import CALL_BEAT, IDLE_BEAT, Heartbeat, Pulse
from signaling.session.session import RefusedRequest, Session, SessionBroken
from signaling.session_shell import (
    DETACHED_IN_CALL_MS,
    DETACHED_MS,
    EXPIRY_GRACE_MS,
    EXPIRY_WARNING_MS,
    SessionShell,
)


class LiveSession(Outlet):
    """One device of one user, as long as its session lives; listens to the socket it has."""

    __slots__ = (
        "_detached_at",
        "_errands",
        "_expiry_told",
        "_heartbeat",
        "asked_at",
        "away",
        "call_id",
        "device_id",
        "ended_with",
        "generation",
        "identity",
        "last_call_id",
        "ticket",
        "user_id",
    )

    def __init__(
        self,
        shell: SessionShell,
        session: Session,
        identity: Identity,
        device_id: DeviceId,
        generation: int,
    ) -> None:
        super().__init__(shell, session)
        now_ms = shell.clock.monotonic_ms()
        self.identity = identity
        self.user_id = UserId(identity.user_id)
        self.device_id = device_id
        self.generation = generation
        self.ticket: Ticket | None = None
        """The ticket that this device waits with."""
        self.call_id: CallId | None = None
        """The call that this device is in."""
        self.last_call_id: CallId | None = None
        """The call that it was in before."""
        self.ended_with: CloseCode | None = None
        """What its client is to hear, should it be over before it was greeted."""
        self.away = False
        """Whether the user said that they are away: not matched, but still here. In a call it means nothing."""

        self.asked_at = now_ms
        """When the hub asks next (monotonic ms)."""
        self._detached_at: int | None = now_ms
        self._expiry_told = False
        self._heartbeat = Heartbeat(IDLE_BEAT, now_ms)
        self._errands = Errands(shell)

    # Who this is.

    @property
    def id(self) -> SessionId:
        return self.session.id

    @property
    def is_attached(self) -> bool:
        return self._connection is not None

    @property
    def is_busy(self) -> bool:
        """Whether a command is running or in line."""
        return self._errands.are_under_way

    @property
    def state(self) -> str:
        """For counters: what this session is doing."""
        if not self.is_attached:
            return "reconnecting"
        if self.call_id is not None:
            return "in_call"
        if self.away:
            return "away"
        return "queued" if self.ticket is not None else "idle"

    # Its socket.

    def attach(self, connection: Connection, head_start_ms: int = 0) -> None:
        """Makes `connection` the session's socket; a client that listens to an older one has to come back."""
        self._resumed_elsewhere()
        self._connection = connection
        self._detached_at = None
        self._paused_at = None
        beat = IDLE_BEAT if self.call_id is None else CALL_BEAT
        self._heartbeat = Heartbeat(beat, self._shell.clock.monotonic_ms(), head_start_ms=head_start_ms)
        connection.set_message_limit(self._shell.limits.max_frame_bytes)
        connection.listen(self)

    def close(self, code: CloseCode, reason: str) -> None:
        """Closes the socket; the session lives on, detached, until it is resumed or expires."""
        connection, self._connection = self._connection, None
        if connection is not None:
            cut_off(connection, code, reason)
            self._note_closed(code)

    def end(self, code: CloseCode, reason: str) -> None:
        """Ends the session and closes the socket."""
        self.ended_with = code
        connection, self._connection = self._connection, None
        if connection is not None:
            cut_off(connection, code, reason)
            self._shell.metrics.closed(code)
        self._finish(reason)

    def hand_over(self) -> None:
        """Ends the session silently: another session of the same device has taken over all it was doing."""
        self.is_over = True
        self.ended_with = CloseCode.SUPERSEDED
        self._errands.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.send(self.session.frame(wire.SessionSuperseded()))
            cut_off(connection, CloseCode.SUPERSEDED, "superseded")
            self._shell.metrics.closed(CloseCode.SUPERSEDED)

    def freeze(self) -> None:
        """Takes the socket away without a word to anybody: the session is about to go to another node."""
        if self._connection is not None:
            self._resumed_elsewhere()
            self._detached_at = self._shell.clock.monotonic_ms()

    def depart(self) -> None:
        """The session is on another node now; nothing that is still held of it here does anything."""
        self.is_over = True
        self._errands.clear()

    def go_on(self, moved: MovedSession) -> None:
        """Is from now on what the session was on the node that it comes from."""
        self.session.go_on(moved.session, self._shell.clock.monotonic_ms())
        self.away = moved.away
        self.ticket = moved.ticket
        self.last_call_id = moved.last_call_id
        self._lost_messages = not moved.complete
        self._early = None
        if moved.call_id is not None:
            self.enter_call(moved.call_id)

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine on the session's behalf."""
        self._shell.lifecycle.run_soon(work)

    def enter_call(self, call_id: CallId) -> None:
        """The ticket stays at hand: where the call comes to nothing, the device waits with it again."""
        self.call_id = call_id
        self._heartbeat.pace(CALL_BEAT)

    def leave_call(self, call_id: CallId) -> None:
        if self.call_id == call_id:
            self.call_id = None
            self.last_call_id = call_id
            self._heartbeat.pace(IDLE_BEAT)

    # What the connection tells.

    def message_received(self, payload: bytes, binary: bool, /) -> None:
        now_ms = self._shell.clock.monotonic_ms()
        if now_ms >= self._shell.standstill.stale_at:
            self._wait_with(payload, binary)
            return
        self._heartbeat.heard(now_ms)
        try:
            request = self.session.receive(payload, binary, now_ms)
        except InvalidMessage as error:
            self.refuse(error.request_id, error)
            return
        except RefusedRequest as refused:
            self.refuse(refused.request_id, refused.error)
            return
        except SessionBroken as broken:
            self._break_off(broken)
            return
        if request is None:
            return
        if request.unknown_fields and self._refuses_unknown(request):
            return
        self._errands.take(self, request)

    def traffic_seen(self) -> None:
        now_ms = self._shell.clock.monotonic_ms()
        self._heartbeat.heard(now_ms)
        try:
            self.session.count_control_frame(now_ms)
        except SessionBroken as broken:
            self._break_off(broken)

    def connection_closed(self, code: int, clean: bool, /) -> None:
        self._connection = None
        if code == CloseCode.NORMAL and clean:
            self._shell.metrics.closed(code)
            self._finish("closed")
        else:
            self._note_closed(code)

    # Time.

    def tick(self, now_ms: int, wall_ms: int) -> int | None:
        """Does what is due; returns when to be asked again (monotonic ms), None when the session is over."""
        if self.is_over:
            return None
        if self._connection is None:
            return self._tick_detached(now_ms)
        expires_at = self.identity.expires_at_ms
        if wall_ms >= expires_at + EXPIRY_GRACE_MS:
            self.close(CloseCode.TOKEN_EXPIRED, "token expired")
            return self._tick_detached(now_ms)
        if wall_ms >= expires_at - EXPIRY_WARNING_MS and not self._expiry_told:
            self._expiry_told = True
            self.push(wire.SessionExpiring(token_expires_at=expires_at))
        if self._makes_no_progress(now_ms):
            self.close(CloseCode.TOO_SLOW, "no progress")
            return self._tick_detached(now_ms)
        match self._heartbeat.check(now_ms):
            case Pulse.PING:
                self.push(wire.Ping(server_now=wall_ms))
            case Pulse.DEAD:
                self.close(CloseCode.NO_PONG, "no pong")
                return self._tick_detached(now_ms)
            case Pulse.FINE:
                pass
        expiry_at = expires_at + EXPIRY_GRACE_MS if self._expiry_told else expires_at - EXPIRY_WARNING_MS
        slow_at = now_ms + self._shell.limits.slow_after_ms // 4 if self._paused_at is not None else None
        times = [self._heartbeat.next_at, now_ms + max(0, expiry_at - wall_ms)]
        return min(times if slow_at is None else [*times, slow_at])

    def renew(self, identity: Identity) -> None:
        """Goes on under a newer token of the same user."""
        self.identity = identity
        self._expiry_told = False

    def _tick_detached(self, now_ms: int) -> int | None:
        if self._detached_at is None:
            self._detached_at = now_ms
        window_ms = DETACHED_MS if self.call_id is None else DETACHED_IN_CALL_MS
        expires_at = self._detached_at + window_ms
        if now_ms < expires_at:
            return expires_at
        self._finish("expired")
        return None

    # How it goes on inside.

    def _resumed_elsewhere(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # May be one that the client still listens to, if it comes from both sides at once: hence no 4501.
            cut_off(connection, CloseCode.DRAIN, "resumed elsewhere")
            self._shell.metrics.closed(CloseCode.DRAIN)

    def _wait_with(self, payload: bytes, binary: bool) -> None:
        """The node does not know whether this session is still its own."""
        connection = self._connection

        def deliver() -> None:
            # Whoever has gone elsewhere meanwhile asked there, and is answered there.
            if connection is not None and self._connection is connection:
                self.message_received(payload, binary)

        if not self._shell.standstill.hold(deliver, len(payload)):
            # Not handled, so asked again after the client has come back.
            self.close(CloseCode.DRAIN, "too much to keep")

    def _break_off(self, broken: SessionBroken) -> None:
        # Who is told to come back finds ticket and call as they were.
        leave = self.close if broken.close_code.may_reconnect else self.end
        leave(broken.close_code, broken.reason)

    def _refuses_unknown(self, request: Request) -> bool:
        self._shell.metrics.unknown_fields(request.message.TYPE, len(request.unknown_fields))
        if not self._shell.strict:
            return False
        names = ", ".join(f"`{name}`"[:64] for name in request.unknown_fields[:5])
        self.refuse(
            request.id,
            MinuetError(f"{request.message.TYPE}: unknown field {names}", code=ErrorCode.INVALID_MESSAGE),
        )
        return True

    def _note_closed(self, code: int) -> None:
        self._shell.metrics.closed(code)
        self._detached_at = self._shell.clock.monotonic_ms()
        if not self.is_over:
            self._shell.lifecycle.detached(self)

    def _finish(self, reason: str) -> None:
        if not self.is_over:
            self.is_over = True
            self._errands.clear()
            self._shell.lifecycle.ended(self, reason)
