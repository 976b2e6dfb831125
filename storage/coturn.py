"""A TURN server's admin interface: coturn's telnet command line, on loopback.

Decides how to talk to it and what of its answers can be believed. A listing shows text that clients chose (the ORIGIN
attribute of an allocation is printed as it came, line breaks and all), so a client could write lines that look like
another's session, or like the prompt. Hence a listing is read only up to the first line that coturn did not write by
itself; what stands before is true, and what follows is asked for again, on another connection, when the sessions
before it are gone.

Everything typed is made of a call's UUID, session ids of 18 digits, and the password.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from base.ids import CallId, is_uuid
from jobs.ports import TurnAdmin, TurnUnavailable

_PROMPT: Final = b"> "
_ASKS_PASSWORD: Final = b"Enter password:"
_LIMIT: Final = 1_048_576
"""Bytes of one answer; coturn lists 256 sessions at most, of less than 1 kB each."""
_ROUNDS: Final = 12
_PAUSE_S: Final = 0.05
"""Cancelling is handed to the thread that has the session."""

_SESSION: Final = re.compile(rb" {4}\d+\) id=(\d{18}), user <\d+:([0-9a-f-]{36})\.[ab]>:")
_OWN_LINES: Final = re.compile(
    rb" {6}(?:realm: |started |expiring in |client protocol |client addr |relay addr |fingerprints enforced: "
    rb"|mobile: |TLS method: |TLS cipher: |Max throughput: |usage: | rate: |peers:| {4}[0-9a-f\[])|  Total sessions: |$"
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The sessions of one call; not `whole` where something followed that may not be coturn's own."""

    session_ids: tuple[str, ...]
    whole: bool


class CoturnAdmin:
    """One coturn. Each use is a connection of its own."""

    def __init__(self, host: str, port: int, password: str, *, timeout_s: float = 5.0) -> None:
        self._host = host
        self._port = port
        self._password = password
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        return f"{self._host}:{self._port}"

    async def ping(self) -> None:
        """Whether it answers and takes the password. Raises: TurnUnavailable."""
        async with self._conversation():
            pass

    async def end_allocations(self, call_ids: Sequence[CallId]) -> int:
        """Ends whatever these calls still hold; answers how many sessions that were.

        Raises: TurnUnavailable also where sessions are left after all.
        """
        pending = list(call_ids)
        ended: set[str] = set()
        for _ in range(_ROUNDS):
            pending = await self._end_once(pending, ended)
            if not pending:
                return len(ended)
            await asyncio.sleep(_PAUSE_S)
        raise TurnUnavailable(f"{self.name} does not end the sessions of {len(pending)} calls")

    async def sessions(self, call_id: CallId) -> Listing:
        """What a call holds. Raises: TurnUnavailable."""
        async with self._conversation() as talk:
            return await talk.sessions(call_id)

    async def _end_once(self, call_ids: Sequence[CallId], ended: set[str]) -> list[CallId]:
        """Cancels what can be seen; answers the calls of which something was, to be looked at again."""
        seen: list[CallId] = []
        left = list(call_ids)
        while left:
            async with self._conversation() as talk:
                listing = Listing((), True)
                while left and listing.whole:
                    listing = await talk.sessions(left[0])
                    call_id = left.pop(0)
                    if listing.session_ids or not listing.whole:
                        seen.append(call_id)
                    if listing.whole:
                        await talk.cancel(listing.session_ids, ended)
            if not listing.whole:
                # What was left unread could be taken for the next answer: a new connection has none of it.
                async with self._conversation() as talk:
                    await talk.cancel(listing.session_ids, ended)
        return seen

    @asynccontextmanager
    async def _conversation(self) -> AsyncIterator["_Conversation"]:
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=_LIMIT)
            talk = _Conversation(reader, writer, self._timeout_s)
            try:
                await talk.log_in(self._password)
                yield talk
            finally:
                # Not `quit`: coturn closes with a reset either way.
                writer.transport.abort()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise TurnUnavailable(f"{self.name}: {type(error).__name__}") from error


class _Conversation:
    """Command and answer, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s
        self._unread = b""

    async def log_in(self, password: str) -> None:
        """Raises: TurnUnavailable where the password is refused."""
        await self._answer(_ASKS_PASSWORD)
        if _ASKS_PASSWORD in await self._ask(password, _PROMPT, _ASKS_PASSWORD):
            raise TurnUnavailable("coturn refuses the password of its admin interface")

    async def sessions(self, call_id: CallId) -> Listing:
        if not is_uuid(call_id):
            raise ValueError("no id of a call")
        # A part of the user name: a seat may have used several credentials.
        return read_listing(await self._ask(f"psp {call_id}", _PROMPT), call_id)

    async def cancel(self, session_ids: Sequence[str], ended: set[str]) -> None:
        for session_id in session_ids:
            await self._ask(f"cs {session_id}", _PROMPT)
            ended.add(session_id)

    async def _ask(self, line: str, *ends: bytes) -> bytes:
        self._writer.write(f"{line}\r\n".encode("ascii"))
        return await self._answer(*ends)

    async def _answer(self, *ends: bytes) -> bytes:
        """What comes up to a line that begins with one of `ends`, that beginning included."""
        async with asyncio.timeout(self._timeout_s):
            while True:
                for end in ends:
                    at = 0 if self._unread.startswith(end) else self._unread.find(b"\n" + end) + 1
                    if at or self._unread.startswith(end):
                        answer, self._unread = self._unread[: at + len(end)], self._unread[at + len(end) :]
                        return answer
                if len(self._unread) > _LIMIT:
                    raise EOFError("the answer has no end")
                some = await self._reader.read(65_536)
                if not some:
                    raise EOFError("hung up")
                self._unread += some


def read_listing(answer: bytes, call_id: CallId) -> Listing:
    """The sessions in an answer to `psp`, as far as every line is one that coturn writes by itself."""
    found: list[str] = []
    for line in answer.removesuffix(_PROMPT).replace(b"\r\n", b"\n").split(b"\n"):
        session = _SESSION.fullmatch(line)
        if session is not None and session[2] == call_id.encode():
            found.append(session[1].decode())
        elif not _OWN_LINES.match(line):
            return Listing(tuple(found), whole=False)
    return Listing(tuple(found), whole=True)


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits: type[TurnAdmin] = CoturnAdmin
