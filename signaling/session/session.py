"""One client's session: numbering both ways, limits, what waits to be acknowledged.

Decides what to make of a payload and how a message becomes a frame. Refuses to know sockets, users and calls; it
outlives its sockets, so that a client can come back to it.
"""

from collections.abc import Mapping
from math import inf
from typing import Any

import msgspec

from base.errors import CloseCode, MinuetError
from base.ids import SessionId
from signaling.protocol.codec import Codec, InvalidMessage, Request
from signaling.protocol.messages.family import ServerMessage
from signaling.session.limits import Flooded, Limiter, SessionLimits, TokenBucket
from signaling.session.outbox import Outbox


class SessionBroken(Exception):
    """The connection cannot go on; close it with this code."""

    def __init__(self, close_code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code
        self.reason = reason


class SessionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it goes from node to node; fields of a newer release are ignored."""

    subprotocol: str
    last_id: int
    last_seq: int
    frames: list[bytes]
    """The last that were numbered, not acknowledged yet."""
    tokens: dict[str, float] = {}
    control_tokens: float = inf
    malformed: int = 0
    refusals: int = 0


class Session:
    """Numbers, limits and keeps. Payloads in, requests out; messages in, payloads out."""

    __slots__ = (
        "_controls",
        "_limiter",
        "_limits",
        "_malformed",
        "_refusals",
        "codec",
        "id",
        "last_id",
        "outbox",
    )

    def __init__(self, session_id: SessionId, codec: Codec, limits: SessionLimits, now_ms: int) -> None:
        self.id = session_id
        self.codec = codec
        self.last_id = 0
        self.outbox = Outbox(limits.outbox_messages, limits.outbox_bytes)
        self._limits = limits
        self._limiter = Limiter(limits)
        self._controls: TokenBucket | None = None  # nobody has sent one yet
        self._malformed = 0
        self._refusals = 0

    def receive(self, payload: bytes, binary: bool, now_ms: int) -> Request | None:
        """The request in a payload; None for a repeat of one already handled, and for what is dropped silently.

        Raises: MinuetError to answer with (`InvalidMessage` and `RateLimited` carry the request's id where it is
        known), SessionBroken when the connection has to be closed.
        """
        codec = self.codec
        if binary is not codec.binary:
            kind = "binary" if binary else "text"
            raise SessionBroken(CloseCode.PROTOCOL_ERROR, f"{kind} frame on {codec.subprotocol}")
        try:
            request = codec.read(payload)
        except InvalidMessage as error:
            self._count_malformed(error)
            raise
        if (ack := request.ack) is not None:
            self.outbox.acknowledge(ack)
        if (number := request.id) is not None:
            if number <= self.last_id:
                # A few come with every resume; more than that is a flood that no bucket would see.
                self._count_refusal()
                return None
            self.last_id = number
        try:
            return request if self._limiter.check(request.message, now_ms) else None
        except MinuetError as error:
            self._count_refusal()
            raise RefusedRequest(error, request.id) from None
        except Flooded:
            raise SessionBroken(CloseCode.RATE, f"too many {request.message.TYPE}") from None

    def count_control_frame(self, now_ms: int) -> None:
        """Counts a ping or pong of the WebSocket itself. Raises: SessionBroken for a flood of them."""
        if self._controls is None:
            self._controls = TokenBucket(self._limits.control_frames, now_ms)
        if self._controls.take(now_ms):
            raise SessionBroken(CloseCode.RATE, "too many control frames")

    def frame(self, message: ServerMessage, request_id: int | None = None) -> bytes:
        """The payload of a message; a reliable one is numbered and kept. Raises: OutboxOverflow."""
        codec, outbox = self.codec, self.outbox
        body = codec.encode(message)
        if not message.RELIABLE:
            return codec.envelope(message.TYPE, body, request_id, None)
        payload = codec.envelope(message.TYPE, body, request_id, outbox.last_seq + 1)
        outbox.keep(payload)
        return payload

    def frame_ok(self, request_id: int | None) -> bytes:
        """As `frame`, of an `ok` that says no more. Raises: OutboxOverflow."""
        outbox = self.outbox
        payload = self.codec.ok(request_id, outbox.last_seq + 1)
        outbox.keep(payload)
        return payload

    def frame_of(
        self,
        type_: str,
        data: Mapping[str, Any] | None,
        *,
        request_id: int | None = None,
        reliable: bool = True,
    ) -> bytes:
        """As `frame`, of a type and plain data. Raises: OutboxOverflow."""
        codec, outbox = self.codec, self.outbox
        body = None if data is None else codec.encode(data)
        if not reliable:
            return codec.envelope(type_, body, request_id, None)
        payload = codec.envelope(type_, body, request_id, outbox.last_seq + 1)
        outbox.keep(payload)
        return payload

    def facts(self, now_ms: int) -> SessionFacts:
        """All that another node needs to go on with this session."""
        return SessionFacts(
            subprotocol=self.codec.subprotocol,
            last_id=self.last_id,
            last_seq=self.outbox.last_seq,
            frames=self.outbox.waiting(),
            tokens=self._limiter.left(now_ms),
            control_tokens=self._controls_left(now_ms),
            malformed=self._malformed,
            refusals=self._refusals,
        )

    def go_on(self, facts: SessionFacts, now_ms: int) -> None:
        """Goes on where the session was on another node."""
        self.last_id = facts.last_id
        self.outbox.refill(facts.frames, facts.last_seq)
        self._limiter.keep_to(facts.tokens, now_ms)
        self._controls = TokenBucket(self._limits.control_frames, now_ms)
        self._controls.keep_to(facts.control_tokens, now_ms)
        self._malformed = facts.malformed
        self._refusals = facts.refusals

    def _controls_left(self, now_ms: int) -> float:
        return self._limits.control_frames.burst if self._controls is None else self._controls.left(now_ms)

    def _count_malformed(self, error: InvalidMessage) -> None:
        if error.request_id is not None:
            self._count_refusal()
            return
        self._malformed += 1
        if self._malformed >= self._limits.max_malformed:
            raise SessionBroken(CloseCode.PROTOCOL_ERROR, "too many unreadable messages")

    def _count_refusal(self) -> None:
        self._refusals += 1
        if self._refusals >= self._limits.max_refusals:
            raise SessionBroken(CloseCode.RATE, "too many refused messages")


class RefusedRequest(Exception):
    """A well-formed request that may not be done; the error goes back under the request's id."""

    def __init__(self, error: MinuetError, request_id: int | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.request_id = request_id
