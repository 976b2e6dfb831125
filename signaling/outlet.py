"""What a session says to its client, over the socket that it has at the moment.

Decides what is sent, what is kept for later and what is dropped: nothing before the greeting, nothing ephemeral to a client
that does not read, and nothing at all to one that reads too slowly. Refuses to know why something is said.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from base.errors import CloseCode, MinuetError
from signaling.connection import DEAF, Connection
from signaling.protocol.messages import session as wire
from signaling.protocol.messages.call import CallState
from signaling.protocol.messages.family import ServerMessage
from signaling.session.outbox import OutboxOverflow
from signaling.session.session import Session
from signaling.session_shell import SessionShell


class Outlet(ABC):
    """The saying half of a session."""

    __slots__ = (
        "_connection",
        "_early",
        "_lost_messages",
        "_paused_at",
        "_shell",
        "_unsent_mark",
        "is_over",
        "session",
    )

    def __init__(self, shell: SessionShell, session: Session) -> None:
        self._shell = shell
        self.session = session
        self.is_over = False
        self._connection: Connection | None = None
        self._paused_at: int | None = None
        """Since when a full socket has taken nothing."""
        self._unsent_mark = 0
        self._lost_messages = False
        self._early: list[tuple[str, Mapping[str, Any] | None, bool]] | None = []
        """What came before the greeting, which must be the first that the client hears; None once it was sent."""

    @property
    def can_resume(self) -> bool:
        """Whether a replay from the outbox would be complete."""
        return not self.is_over and not self._lost_messages

    @property
    def unsent_bytes(self) -> int:
        """What the client has not read yet."""
        return 0 if self._connection is None else self._connection.unsent_bytes

    @abstractmethod
    def close(self, code: CloseCode, reason: str) -> None:
        """Closes the socket; the session lives on, detached, until it is resumed or expires."""

    def push_reply(self, message: ServerMessage, request_id: int | None) -> None:
        """Sends a message that answers a request of another type than `ok`."""
        try:
            payload = self.session.frame(message, request_id)
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

    def push_all(self, messages: Sequence[ServerMessage]) -> None:
        """As `push`, of several that go together, in one write."""
        connection = self._connection
        if len(messages) < 2 or connection is None or self._early is not None or connection.writing_is_paused:
            for message in messages:
                self.push(message)
            return
        try:
            payloads = [self.session.frame(message) for message in messages]
        except OutboxOverflow:
            self._overflowed()
            return
        connection.send_many(payloads)

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
        # Never replayed: it names the session, so whoever comes back to that has read it. A kilobyte for each who is idle.
        self.session.outbox.acknowledge(self.session.outbox.last_seq)
        for type_, data, reliable in early or ():
            if not _is_in(ready.snapshot, type_, data):
                self.push_raw(type_, data, reliable=reliable)
        if self._lost_messages:
            self._overflowed()

    def reply(self, request_id: int | None, data: Mapping[str, Any] | None) -> None:
        """Answers `ok`."""
        self._answer(wire.Ok.TYPE, data, request_id)

    def reply_soon(self, request_id: int | None) -> None:
        """Answers `ok`, in the company of what is said next or in a moment."""
        try:
            payload = self.session.frame_ok(request_id)
        except OutboxOverflow:
            self._overflowed()
            return
        connection = self._connection
        if connection is not None:
            if connection.writing_is_paused:
                self._write_slowly(connection, payload, wire.Ok.TYPE, reliable=True)
            else:
                connection.send_soon(payload)

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

    def replay(self, last_seq: int) -> bool:
        """Sends what the client has not seen after `last_seq`; False where some of it is gone."""
        payloads = self.session.outbox.since(last_seq)
        if payloads is None:
            return False
        if self._connection is not None:
            self._connection.send_many(payloads)
        return True

    def lose_messages(self) -> None:
        """Something that was to reach the client is lost: it has to start over."""
        self._lost_messages = True

    def writing_paused(self) -> None:
        self._paused_at = self._shell.clock.monotonic_ms()
        self._unsent_mark = self.unsent_bytes

    def writing_resumed(self) -> None:
        self._paused_at = None

    # How it goes on inside.

    def _wait_for_greeting(self, type_: str, data: Mapping[str, Any] | None, reliable: bool) -> None:
        # The snapshot shows how things stand, and not that a peer connection has to be built anew, or who was matched.
        if self._early is not None and len(self._early) < self._shell.limits.outbox_messages:
            self._early.append((type_, data, reliable))
        else:
            self._lost_messages = True

    def _answer(self, type_: str, data: Mapping[str, Any] | None, request_id: int | None) -> None:
        try:
            payload = self.session.frame_of(type_, data, request_id=request_id)
        except OutboxOverflow:
            self._overflowed()
            return
        self._write(payload, type_, reliable=True)

    def _write(self, payload: bytes, type_: str, *, reliable: bool) -> None:
        connection = self._connection
        if connection is not None:
            if connection.writing_is_paused:
                self._write_slowly(connection, payload, type_, reliable=reliable)
            else:
                connection.send(payload)

    def _write_slowly(self, connection: Connection, payload: bytes, type_: str, *, reliable: bool) -> None:
        """Writes to a client that has not read what was written before."""
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

    def _overflowed(self) -> None:
        # What was promised to arrive no longer can: the client has to start over, and is told so.
        self._lost_messages = True
        self.close(CloseCode.RESYNC, "outbox overflow")


def _is_in(snapshot: wire.Snapshot, type_: str, data: Mapping[str, Any] | None) -> bool:
    """Whether a snapshot says the same, or something newer."""
    call = snapshot.call
    if call is None or data is None or type_ != CallState.TYPE:
        return False
    return data.get("call_id") == call.call_id and data.get("version", 0) <= call.version


def cut_off(connection: Connection, code: CloseCode, reason: str) -> None:
    """Closes a connection, which from here on belongs to nobody: its late events must not reach the session."""
    connection.close(code, reason)
    connection.listen(DEAF)
