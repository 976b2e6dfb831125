"""A session on this node: the pure session, the socket it has at the moment, and its commands in order.

Decides what becomes of a message in either direction while sockets come and go, and when a session that has none is
over. Refuses to know what a command does, and in which order commands are done: that is `signaling.errands`'.
"""

from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from accounts.model import Identity
from base.errors import CloseCode, ErrorCode, MinuetError
from base.ids import CallId, DeviceId, SessionId, UserId
from matchmaker.ticket import Ticket
from signaling.connection import DEAF, Connection
from signaling.errands import Errands
from signaling.moved import MovedSession
from signaling.protocol.codec import InvalidMessage, Request
from signaling.protocol.messages import session as wire
from signaling.protocol.messages.family import ServerMessage
from signaling.session.heartbeat import CALL_BEAT, IDLE_BEAT, Heartbeat, Pulse
from signaling.session.outbox import OutboxOverflow
from signaling.session.session import RefusedRequest, Session, SessionBroken
from signaling.session_shell import (
    DETACHED_IN_CALL_MS,
    DETACHED_MS,
    EXPIRY_GRACE_MS,
    EXPIRY_WARNING_MS,
    SessionShell,
)


class LiveSession:
    """One device of one user, as long as its session lives; listens to the socket it has."""

    __slots__ = (
        "_connection",
        "_detached_at",
        "_early",
        "_errands",
        "_expiry_told",
        "_heartbeat",
        "_lost_messages",
        "_paused_at",
        "_shell",
        "_unsent_mark",
        "asked_at",
        "away",
        "call_id",
        "device_id",
        "generation",
        "identity",
        "is_over",
        "session",
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
        now_ms = shell.clock.monotonic_ms()
        self._shell = shell
        self.session = session
        self.identity = identity
        self.user_id = UserId(identity.user_id)
        self.device_id = device_id
        self.generation = generation
        self.ticket: Ticket | None = None
        """The ticket that this device waits with."""
        self.call_id: CallId | None = None
        """The call that this device is in."""
        self.away = False
        """Whether the user said that they are away: not matched, but still here. In a call it means nothing."""
        self.is_over = False
        self.asked_at = now_ms
        """When the hub asks next (monotonic ms)."""
        self._connection: Connection | None = None
        self._detached_at: int | None = now_ms
        self._paused_at: int | None = None
        """Since when a full socket has taken nothing."""
        self._unsent_mark = 0
        self._expiry_told = False
        self._lost_messages = False
        self._heartbeat = Heartbeat(IDLE_BEAT, now_ms)
        self._errands = Errands(shell)
        self._early: list[tuple[str, Mapping[str, Any] | None, bool]] | None = []
        """News that came before the greeting, which must be the first that the client hears; None once it was sent."""

    # Who this is.

    @property
    def id(self) -> SessionId:
        return self.session.id

    @property
    def is_attached(self) -> bool:
        return self._connection is not None

    @property
    def can_resume(self) -> bool:
        """Whether a replay from the outbox would be complete."""
        return not self.is_over and not self._lost_messages

    @property
    def unsent_bytes(self) -> int:
        """What the client has not read yet."""
        return 0 if self._connection is None else self._connection.unsent_bytes

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
        """Makes `connection` the session's socket; an older one is superseded."""
        old, self._connection = self._connection, None
        if old is not None:
            _cut(old, CloseCode.SUPERSEDED, "superseded")
        self._connection = connection
        self._detached_at = None
        self._paused_at = None
        beat = IDLE_BEAT if self.call_id is None else CALL_BEAT
        self._heartbeat = Heartbeat(beat, self._shell.clock.monotonic_ms(), head_start_ms=head_start_ms)
        connection.set_message_limit(self._shell.limits.max_frame_bytes)
        connection.listen(self)

    def replay(self, last_seq: int) -> bool:
        """Sends what the client has not seen after `last_seq`; False where some of it is gone."""
        payloads = self.session.outbox.since(last_seq)
        if payloads is None:
            return False
        if self._connection is not None:
            self._connection.send_many(payloads)
        return True

    def close(self, code: CloseCode, reason: str) -> None:
        """Closes the socket; the session lives on, detached, until it is resumed or expires."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _cut(connection, code, reason)
            self._note_closed(code)

    def end(self, code: CloseCode, reason: str) -> None:
        """Ends the session and closes the socket."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _cut(connection, code, reason)
            self._shell.metrics.closed(code)
        self._finish(reason)

    def hand_over(self) -> None:
        """Ends the session silently: another session of the same device has taken over all it was doing."""
        self.is_over = True
        self._errands.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.send(self.session.frame_of(wire.SessionSuperseded.TYPE, None, reliable=False))
            _cut(connection, CloseCode.SUPERSEDED, "superseded")
            self._shell.metrics.closed(CloseCode.SUPERSEDED)

    def freeze(self) -> None:
        """Takes the socket away without a word to anybody: the session is about to go to another node."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # May be one that the client still listens to, if it comes from both sides at once: hence no 4501.
            _cut(connection, CloseCode.DRAIN, "resumed elsewhere")
            self._shell.metrics.closed(CloseCode.DRAIN)
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
        self._lost_messages = not moved.complete
        self._early = None
        if moved.call_id is not None:
            self.enter_call(moved.call_id)

    def lose_messages(self) -> None:
        """Something that was to reach the client is lost: it has to start over."""
        self._lost_messages = True

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
            self._heartbeat.pace(IDLE_BEAT)

    # What goes out.

    def push_reply(self, message: ServerMessage, request_id: int | None) -> None:
        """Sends a message that answers a request of another type than `ok`."""
        try:
            payload = self.session.frame(message, request_id=request_id)
        except OutboxOverflow:
            self._overflowed()
            return
        self._write(payload, message.TYPE, reliable=message.RELIABLE)

    def push(self, message: ServerMessage) -> None:
        """Sends a message, or keeps a reliable one for when the client is back; not before its greeting."""
        if self._early is not None and self._connection is None:
            self._wait_for_greeting(message.TYPE, msgspec.to_builtins(message), message.RELIABLE)
        else:
            self.push_reply(message, None)

    def push_raw(self, type_: str, data: Mapping[str, Any] | None, *, reliable: bool = True) -> None:
        """As `push`, of a message in plain form."""
        if self._early is not None and self._connection is None:
            self._wait_for_greeting(type_, data, reliable)
            return
        try:
            payload = self.session.frame_of(type_, data, reliable=reliable)
        except OutboxOverflow:
            self._overflowed()
            return
        self._write(payload, type_, reliable=reliable)

    def push_news(self, type_: str, data: Mapping[str, Any], *, reliable: bool) -> None:
        """As `push_raw`, from elsewhere; not before the client has the snapshot."""
        if self._early is None:
            self.push_raw(type_, data, reliable=reliable)
        else:
            self._wait_for_greeting(type_, data, reliable)

    def greet(self, ready: wire.SessionReady, request_id: int | None) -> None:
        """Sends the greeting, then what came before it."""
        early, self._early = self._early, None
        self.push_reply(ready, request_id)
        for type_, data, reliable in early or ():
            self.push_raw(type_, data, reliable=reliable)
        if self._lost_messages:
            self._overflowed()

    def reply(self, request_id: int | None, data: Mapping[str, Any] | None) -> None:
        """Answers `ok`."""
        self._answer(wire.Ok.TYPE, data, request_id)

    def refuse(self, request_id: int | None, error: MinuetError) -> None:
        """Answers `error`."""
        self._shell.metrics.refused(error.code)
        data: dict[str, Any] = {
            "code": str(error.code),
            "message": error.message,
            "retryable": error.spec.retryable,
        }
        if error.retry_after_ms is not None:
            data["retry_after_ms"] = error.retry_after_ms
        self._answer(wire.ErrorReply.TYPE, data, request_id)

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

    def writing_paused(self) -> None:
        self._paused_at = self._shell.clock.monotonic_ms()
        self._unsent_mark = self.unsent_bytes

    def writing_resumed(self) -> None:
        self._paused_at = None

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

    def _wait_for_greeting(self, type_: str, data: Mapping[str, Any] | None, reliable: bool) -> None:
        # The snapshot shows how things stand, and not that a peer connection has to be built anew, or who was matched.
        if self._early is not None and len(self._early) < self._shell.limits.outbox_messages:
            self._early.append((type_, data, reliable))
        else:
            self._lost_messages = True

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

    def _answer(self, type_: str, data: Mapping[str, Any] | None, request_id: int | None) -> None:
        try:
            payload = self.session.frame_of(type_, data, request_id=request_id)
        except OutboxOverflow:
            self._overflowed()
            return
        self._write(payload, type_, reliable=True)

    def _write(self, payload: bytes, type_: str, *, reliable: bool) -> None:
        connection = self._connection
        if connection is None:
            return
        if not connection.writing_is_paused:
            connection.send(payload)
            return
        limits, unsent = self._shell.limits, connection.unsent_bytes
        if not reliable and unsent > limits.drop_ephemeral_above:
            self._shell.metrics.dropped(type_)
        elif unsent > limits.close_slow_above:
            self.close(CloseCode.TOO_SLOW, "too slow")
        else:
            connection.send(payload)
            self._unsent_mark += connection.unsent_bytes - unsent

    def _makes_no_progress(self, now_ms: int) -> bool:
        """Whether the client has read nothing for too long, of a socket that is full."""
        if self._paused_at is None:
            return False
        if self.unsent_bytes < self._unsent_mark:
            # Slow, and reading: what is unsent now is less than was, and came, when it was last looked at.
            self._paused_at, self._unsent_mark = now_ms, self.unsent_bytes
        return now_ms - self._paused_at >= self._shell.limits.slow_after_ms

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

    def _overflowed(self) -> None:
        # What was promised to arrive no longer can: the client has to start over, and is told so.
        self._lost_messages = True
        self.close(CloseCode.RESYNC, "outbox overflow")

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


def _cut(connection: Connection, code: CloseCode, reason: str) -> None:
    # From here on the connection belongs to nobody: its late events must not reach the session.
    connection.close(code, reason)
    connection.listen(DEAF)
