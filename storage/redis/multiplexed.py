"""A Redis client whose commands share one connection: written together, answered in order.

redis-py sends each command alone, on a connection of its own, with some 80 us of its own work around it. Here what is
asked within one turn of the event loop leaves with one write, and the answers of one read wake whoever waits. Decides
only that order; connecting (TLS, credentials, RESP3), encoding of arguments, errors and the shapes of replies are
redis-py's and hiredis's. Blocking reads, which would hold the connection up, have others, each its own; transactions and
subscriptions go their way over the pool.

As with the pool, a command that met a lost or silent connection is sent once more on a fresh one, though it may have been
done: the answer may be all that was lost. So each adapter has to know a command of its own that it meets again (calls by
their rev, idempotency keys, login attempts and visits by what names the attempt) or to be none the worse for it. Where it
is a little worse, the script's header says how (`rate_limit`, `queue_drop`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import DefaultParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

MAX_PENDING: Final = 20_000
"""Commands that may wait for their answers; more are refused, as an empty pool would."""
_HIGH_BYTES: Final = 4 << 20
_LOOKS_PER_TIMEOUT: Final = 8

_BLOCKING: Final = frozenset(
    {"XREAD", "XREADGROUP", "BLPOP", "BRPOP", "BLMOVE", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP"}
)
# Whatever keeps the server from answering those behind it, or changes the connection for them.
ALONE: Final = frozenset(
    _BLOCKING
    | {"WAIT", "WAITAOF", "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "MONITOR", "RESET", "QUIT"}
    | {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "AUTH", "HELLO", "SELECT", "CLIENT", "SHUTDOWN", "FAILOVER"}
)
_INCOMPLETE: Final = object()
_LOST: Final = (RedisConnectionError, RedisTimeoutError)
# Its stub knows tuples of bytes only.
pack: Final = cast("Any", hiredis.pack_command)


class MultiplexedRedis(Redis):
    """As `redis.asyncio.Redis`, quicker where many ask at once."""

    _link: "Link | None" = None
    _opening: "asyncio.Task[Link] | None" = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._apart: list[Link] = []
        """Connections of blocking reads, while nobody reads."""

    @property
    def live(self) -> "Link | None":
        """The shared connection, where it is open."""
        link = self._link
        return None if link is None or link.is_lost else link

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Raises: what `redis.asyncio.Redis` raises."""
        name = args[0]
        # The library gives some commands in two words, which the server wants as two arguments.
        words = tuple(name.split(" ")) if " " in name else (name,)
        if words[0] in _BLOCKING:
            reply = await self._answer_in_time(pack((*words, *args[1:])))
        elif words[0] in ALONE:
            return await cast("Any", super()).execute_command(*args, **options)
        else:
            reply = await self.answer_to(pack((*words, *args[1:])))
        options.pop("keys", None)
        shape = self.response_callbacks.get(name)
        return reply if shape is None else shape(reply, **options)

    async def answer_to(self, command: bytes) -> Any:
        """The answer to a packed command as it comes, which is sent once more where the connection was lost.

        Raises: its answer, where that is an error; what redis-py raises where the connection is lost again.
        """
        try:
            link = self._link
            if link is None or link.is_lost:
                link = await self.opened()
            reply = await link.ask(command)
        except _LOST:
            reply = await (self.live or await self.opened()).ask(command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def _answer_in_time(self, command: bytes) -> Any:
        """As `answer_to`, of a command that the server may take its time with, on a connection where nobody waits behind it."""
        for once_more in (True, False):
            link: Link | None = None
            try:
                link = await self._one_apart()
                reply = await link.ask(command)
            except BaseException as error:
                # Broad, and passed on: also whoever gives up waiting leaves an answer behind.
                if link is not None:
                    # It is lost; or its answer would be taken for that to the next question.
                    await link.close()
                if once_more and isinstance(error, _LOST):
                    continue
                raise
            self._apart.append(link)
            if isinstance(reply, Exception):
                raise reply
            return reply
        raise AssertionError("unreachable")

    async def _one_apart(self) -> "Link":
        while self._apart:
            link = self._apart.pop()
            if not link.is_lost:
                return link
            await link.close()
        return await self._connected()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._link is not None:
            await self._link.close()
        apart, self._apart = self._apart, []
        for link in apart:
            await link.close()
        await super().aclose(close_connection_pool)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """One that is no transaction leaves over the shared connection, too."""
        return super().pipeline(True, shard_hint) if transaction else SharedPipeline(self)

    async def ask_all(self, commands: Sequence[bytes]) -> list[Any]:
        """The answers to packed commands that leave with one write, errors among them; lost ones are asked once more.

        Raises: what redis-py raises where the connection is lost again.
        """
        answers = await self._ask_once(commands)
        lost = [number for number, answer in enumerate(answers) if isinstance(answer, _LOST)]
        if lost:
            again = await self._ask_once([commands[number] for number in lost])
            for number, answer in zip(lost, again, strict=True):
                if isinstance(answer, _LOST):
                    raise answer
                answers[number] = answer
        return answers

    async def _ask_once(self, commands: Sequence[bytes]) -> list[Any]:
        sent: list[asyncio.Future[Any]] = []
        refused: list[Any] = []
        try:
            link = self.live or await self.opened()
            for command in commands:
                sent.append(link.ask(command))  # noqa: PERF401 - what was asked before a refusal counts
        except _LOST as error:
            refused = [error] * (len(commands) - len(sent))
        return [*await asyncio.gather(*sent, return_exceptions=True), *refused]

    async def opened(self) -> "Link":
        """A fresh shared connection; those who come together wait for the same one.

        Raises: what redis-py raises when it cannot connect.
        """
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opening_done)
        return await asyncio.shield(self._opening)

    async def _open(self) -> "Link":
        link = await self._connected()
        if self._link is not None:
            await self._link.close()
        self._link = link
        return link

    async def _connected(self) -> "Link":
        pool = self.connection_pool
        settings = {**pool.connection_kwargs, "retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        settings["health_check_interval"] = 0
        connection: Any = pool.connection_class(**settings)
        await connection.connect()
        writer: asyncio.StreamWriter | None = connection._writer
        if writer is None:
            raise RedisConnectionError("the connection was closed while it was opened")
        return Link(connection, cast("asyncio.Transport", writer.transport))

    def _opening_done(self, task: "asyncio.Task[Link]") -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; nobody may be waiting any more


class SharedPipeline(Pipeline):
    """As the library's, but over the shared connection, which costs half as much."""

    def __init__(self, redis: MultiplexedRedis) -> None:
        super().__init__(redis.connection_pool, redis.response_callbacks, False, None)
        self._redis = redis

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Raises: what the library's raises."""
        stack = list(self.command_stack)
        names = {str(args[0]).partition(" ")[0] for args, _ in stack}
        if not stack or names & ALONE:
            return cast("list[Any]", await cast("Any", super()).execute(raise_on_error))
        scripts = list(self.scripts)
        await cast("Any", self).reset()
        commands = [pack((*str(args[0]).split(" "), *args[1:])) for args, _ in stack]
        replies = await self._redis.ask_all(commands)
        unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            for script in scripts:
                await self._redis.execute_command("SCRIPT LOAD", script.script)
            again = await self._redis.ask_all([commands[number] for number in unknown])
            for number, reply in zip(unknown, again, strict=True):
                replies[number] = reply
        return [
            shaped(self.response_callbacks, command, reply, raise_on_error)
            for command, reply in zip(stack, replies, strict=True)
        ]


def shaped(
    callbacks: Mapping[Any, Callable[..., Any]], command: tuple[Any, Any], reply: Any, raise_on_error: bool
) -> Any:
    """A reply in a pipeline as the library gives it. Raises: the error that it is, where that is wanted."""
    if isinstance(reply, BaseException):
        if raise_on_error or not isinstance(reply, Exception):
            raise reply
        return reply
    args, options = command
    options.pop("keys", None)
    shape = callbacks.get(args[0])
    return reply if shape is None else shape(reply, **options)


class Link(asyncio.Protocol):
    """One connection: commands out in order, answers in the same order."""

    def __init__(self, connection: Any, transport: asyncio.Transport) -> None:
        self._connection = connection  # its end would close the transport
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._timeout_s: float | None = connection.socket_timeout
        # An error is an answer like any other: it belongs to the one command that caused it.
        self._reader = hiredis.Reader(replyError=DefaultParser.parse_error, notEnoughData=_INCOMPLETE)
        self._unsent: list[bytes] = []
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._progress_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.is_lost = False
        transport.set_write_buffer_limits(high=_HIGH_BYTES)
        transport.set_protocol(self)
        transport.resume_reading()

    def ask(self, command: bytes) -> "asyncio.Future[Any]":
        """The answer, an exception of redis-py's among them.

        Raises: RedisConnectionError with too many waiting, or on a link that was lost before it was asked anything.
        """
        if self.is_lost:
            # Nobody reads it any more: the answer would be waited for as long as a silent server's.
            raise RedisConnectionError("the connection was lost")
        if len(self._pending) >= MAX_PENDING:
            raise RedisConnectionError("too many commands wait for an answer")
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(command)
        if not self._pending:
            self._progress_at = self._loop.time()
            self._look_again()
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._pending.append(answer)
        return answer

    async def close(self) -> None:
        self._lose(RedisConnectionError("the client was closed"))
        await self._connection.disconnect(nowait=True)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        # One that closes says so in a moment, and nothing can be written any more.
        if not self.is_lost and not self._transport.is_closing():
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _look_again(self) -> None:
        if self._watch is None and self._timeout_s is not None:
            pause_s = self._timeout_s / _LOOKS_PER_TIMEOUT
            self._watch = self._loop.call_later(pause_s, self._look, self._loop.time() + pause_s)

    def _look(self, due_at: float) -> None:
        self._watch = None
        if not self._pending or self._timeout_s is None:
            return
        now = self._loop.time()
        if now - due_at > self._timeout_s / 2:
            self._progress_at = (
                now  # it was this process that stood still, and the answers are there to be read
            )
        if now - self._progress_at < self._timeout_s:
            self._look_again()
        else:
            self._lose(RedisTimeoutError("the server does not answer"))
            self._transport.abort()

    def _lose(self, why: Exception) -> None:
        self.is_lost = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        pending, self._pending = self._pending, deque()
        for answer in pending:
            if not answer.done():
                answer.set_exception(why)

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        reader, pending = self._reader, self._pending
        reader.feed(data)
        try:
            while (item := reader.gets()) is not _INCOMPLETE:
                if isinstance(item, hiredis.PushNotification):
                    continue  # nothing here subscribes
                answer = pending.popleft()
                if not answer.done():
                    answer.set_result(item)
        except (hiredis.ProtocolError, IndexError) as error:
            self._lose(RedisConnectionError(f"the server cannot be understood: {error}"))
            self._transport.abort()
            return
        self._progress_at = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_lost:
            self._lose(RedisConnectionError(f"the connection was lost: {exc or 'closed by the server'}"))
