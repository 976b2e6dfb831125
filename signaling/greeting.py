"""A socket before it has a session: waits for the first message, at most 5 s and 4 kB.

Decides whether the first message is one that can begin a session. Refuses to check who the client is: that is
awaited by whoever opens sessions, while what the client sends meanwhile waits here, bounded.
"""

import asyncio
from collections.abc import Callable

from base.errors import CloseCode, MinuetError
from signaling.connection import DEAF, Connection
from signaling.live_session import LiveSession
from signaling.protocol.codec import CODECS, Codec
from signaling.protocol.messages import session as wire
from signaling.upgrade import ConnectionInfo

MAX_WAITING = 16

FirstMessage = wire.SessionStart | wire.SessionResume


class Greeting:
    """The listener of a new connection until a session takes over."""

    __slots__ = (
        "_begin",
        "_begun",
        "_patience",
        "_waiting",
        "codec",
        "connection",
        "gone",
        "info",
        "request_id",
    )

    def __init__(
        self,
        connection: Connection,
        info: ConnectionInfo,
        begin: Callable[["Greeting", FirstMessage], None],
        start_timeout_s: float,
    ) -> None:
        self.connection = connection
        self.info = info
        self.codec: Codec = CODECS[info.subprotocol]
        self.request_id: int | None = None
        """The request number of the first message, echoed by its reply."""
        self.gone = False
        """Whether the socket is closed already."""
        self._begin = begin
        self._begun = False
        self._patience = asyncio.get_running_loop().call_later(start_timeout_s, self._start_is_late)
        self._waiting: list[tuple[bytes, bool]] = []

    def message_received(self, payload: bytes, binary: bool, /) -> None:
        if self._begun:
            if len(self._waiting) >= MAX_WAITING:
                self.close(CloseCode.RATE, "too many messages before session.ready")
            else:
                self._waiting.append((payload, binary))
            return
        try:
            if binary is not self.codec.binary:
                raise MinuetError(f"wrong kind of frame for {self.codec.subprotocol}")
            request = self.codec.read(payload)
        except MinuetError as error:
            self.close(CloseCode.PROTOCOL_ERROR, error.message)
            return
        if not isinstance(request.message, FirstMessage):
            self.close(CloseCode.PROTOCOL_ERROR, "the first message is session.start or session.resume")
            return
        self.request_id = request.id
        self._begun = True
        self._patience.cancel()
        self._begin(self, request.message)

    def pass_on(self, live: LiveSession) -> None:
        """Gives the session what came while it was being opened, as long as it takes anything.

        Before it hears anything that comes now: that has a higher number, and what comes behind it passes for a repeat.
        """
        waiting, self._waiting = self._waiting, []
        for payload, binary in waiting:
            if live.is_over or not live.is_attached:
                return
            live.message_received(payload, binary)

    def refuse(self, code: CloseCode, error: MinuetError) -> None:
        """Answers `error`, then closes."""
        body = self.codec.encode(
            {"code": str(error.code), "message": error.message, "retryable": error.spec.retryable}
        )
        self.connection.send(self.codec.envelope(wire.ErrorReply.TYPE, body, self.request_id, None))
        self.close(code, str(error.code))

    def close(self, code: CloseCode, reason: str) -> None:
        self.gone = True
        self._patience.cancel()
        self.connection.close(code, reason[:100])
        self.connection.listen(DEAF)

    def traffic_seen(self) -> None:
        """Pings before the start do not extend it."""

    def writing_paused(self) -> None:
        """Nothing is written yet but refusals."""

    def writing_resumed(self) -> None:
        """Nothing is written yet but refusals."""

    def connection_closed(self, code: int, clean: bool, /) -> None:
        self.gone = True
        self._patience.cancel()

    def _start_is_late(self) -> None:
        self.close(CloseCode.NO_START, "no session.start in time")
