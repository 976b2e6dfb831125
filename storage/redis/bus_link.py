"""One raw connection to Redis for the bus: commands out and pushes in, nothing awaited.

redis-py opens it (TLS, credentials, RESP3); then this protocol takes the transport over, so that a frame from another
node goes from the socket to its receiver within one callback, and a batch leaves with one write. Knows how Redis
talks, not what is said.

Taking over leans on one private name of redis-py, in `open_link`; a contract test fails when an upgrade changes it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

# Above this much unsent, frames wait on our side, where they are bounded and can be dropped.
WRITE_HIGH_BYTES = 1 << 20

_INCOMPLETE = object()
# Its stub knows tuples of one only.
_pack: Callable[[tuple[bytes, ...]], bytes] = cast("Any", hiredis.pack_command)


class LinkListener(Protocol):
    """Who hears what a link hears. Called from within the event loop's callback; must not raise."""

    def on_message(self, channel: bytes, payload: bytes) -> None: ...

    def on_subscribed(self, channel: bytes) -> None: ...

    def on_unheard(self) -> None:
        """A publication reached nobody."""
        ...

    def on_refused(self, reason: str) -> None:
        """The server refused a command."""
        ...

    def on_moved(self, channel: bytes | None) -> None:
        """A channel is another server's, or is becoming so; None where the server did not say which."""
        ...

    def on_writable(self) -> None:
        """What was unsent has drained."""
        ...


class BusLink(asyncio.Protocol):
    """The protocol of that connection; `sharded` to a primary of a cluster, whose channels have slots as keys have."""

    def __init__(
        self, listener: LinkListener, monotonic_ms: Callable[[], int], *, sharded: bool = False
    ) -> None:
        self._listener = listener
        self._prefix = b"S" if sharded else b""
        self._monotonic_ms = monotonic_ms
        # Maps, sets and errors come as values: a refused command must not end the connection.
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._connection: Any = None
        self._transport: asyncio.Transport | None = None
        self._unanswered = 0
        self._progress_at = monotonic_ms()
        self._leaving: set[bytes] = set()
        self.is_paused = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def attach(self, connection: Any, transport: asyncio.Transport) -> None:
        """Takes over an open connection; `connection` is kept because its end would close the transport."""
        self._connection = connection
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        transport.set_protocol(self)
        transport.resume_reading()

    # --- out -------------------------------------------------------------------------------------------------

    def subscribe(self, channel: bytes) -> None:
        self._write(_pack((self._prefix + b"SUBSCRIBE", channel)))

    def unsubscribe(self, channel: bytes) -> None:
        self._leaving.add(channel)
        self._write(_pack((self._prefix + b"UNSUBSCRIBE", channel)))

    def publish(self, batches: Sequence[tuple[bytes, bytes]]) -> None:
        """Sends each payload to its channel, in one write."""
        self._expect(len(batches))
        command = self._prefix + b"PUBLISH"
        self._write(b"".join([_pack((command, channel, payload)) for channel, payload in batches]))

    def ping(self) -> None:
        self._expect(1)
        self._write(_pack((b"PING",)))

    def stuck_ms(self, now_ms: int) -> int:
        """For how long an answer has been due without any coming."""
        return now_ms - self._progress_at if self._unanswered else 0

    def excuse(self, now_ms: int) -> None:
        """Counts `stuck_ms` from now: it was us who did not look."""
        self._progress_at = now_ms

    async def close(self) -> None:
        """Sends what is buffered, then closes."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)

    async def abort(self) -> None:
        """Closes at once, for a connection on which nothing moves."""
        if self._transport is not None:
            self._transport.abort()
        await self.close()

    def _expect(self, answers: int) -> None:
        if not self._unanswered:
            self._progress_at = self._monotonic_ms()
        self._unanswered += answers

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # --- in --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (item := self._reader.gets()) is not _INCOMPLETE:
                self._received(item)
        except hiredis.ProtocolError as error:
            self._listener.on_refused(f"cannot be understood: {error}")
            if self._transport is not None:
                self._transport.abort()

    def _received(self, item: Any) -> None:
        if isinstance(item, hiredis.PushNotification):
            match item:
                case [b"message" | b"smessage", channel, payload]:
                    self._listener.on_message(channel, payload)
                case [b"subscribe" | b"ssubscribe", channel, _]:
                    self._listener.on_subscribed(channel)
                case [b"unsubscribe" | b"sunsubscribe", channel, _]:
                    self._left(channel)
            return
        # Subscribing is answered by a push; only its refusal comes here without having been expected.
        self._unanswered = max(0, self._unanswered - 1)
        self._progress_at = self._monotonic_ms()
        if isinstance(item, hiredis.ReplyError):
            reason = str(item)
            if reason.startswith("MOVED"):
                self._listener.on_moved(None)
            else:
                self._listener.on_refused(reason)
        elif item == 0:
            self._listener.on_unheard()

    def _left(self, channel: bytes) -> None:
        if channel in self._leaving:
            self._leaving.discard(channel)
        else:
            # The slot has gone to another primary, and its subscribers were shown the door.
            self._listener.on_moved(channel)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._listener.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


async def open_link(
    redis: Redis, listener: LinkListener, monotonic_ms: Callable[[], int], *, sharded: bool = False
) -> BusLink:
    """A link to where `redis` connects to, beside its pool.

    Raises: what redis-py raises when it cannot connect (see `client.UNAVAILABLE_ERRORS`).
    """
    pool = redis.connection_pool
    settings = {
        **pool.connection_kwargs,
        "protocol": 3,
        # A frame is sent at most once, so nothing may be tried again behind our back.
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
    }
    connection: Any = pool.connection_class(**settings)
    await connection.connect()
    writer: asyncio.StreamWriter | None = connection._writer
    if writer is None:
        raise RedisConnectionError("the connection was closed while it was opened")
    link = BusLink(listener, monotonic_ms, sharded=sharded)
    link.attach(connection, cast("asyncio.Transport", writer.transport))
    return link
