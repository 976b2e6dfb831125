"""The pools in Redis: `matchmaker.ports.QueueStore`.

Decides the stored forms of tickets, events and matches (headers of `queue_put.lua` and `queue_claim.lua`); every
rule is in the scripts, each of which touches one pool's keys only.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from redis.asyncio import Redis

from base.ids import CallId, TicketId, UserId
from base.policy import Gender
from matchmaker.matches import Match, MatchRecord, Progress, Seat, SeatRef, decode_match, encode_match
from matchmaker.outlook import Outlook, decode_outlook, encode_outlook
from matchmaker.ports import (
    Arrived,
    Claimed,
    ClaimReply,
    Departed,
    Depths,
    EventBatch,
    Lease,
    Left,
    Paused,
    PoolEvent,
    Put,
    QueueStore,
    StoredTicket,
    TicketState,
)
from matchmaker.ticket import Ticket, decode_ticket, encode_ticket
from storage.redis.client import load_script, unavailable_when_away
from storage.redis.keys import Keys

logger = structlog.get_logger(__name__)

_SCRIPTS = (
    "put",
    "leave",
    "pause",
    "drop",
    "claim",
    "ack",
    "resolve",
    "settle",
    "lease",
    "trim",
    "outlook",
    "enrol",
    "states",
)
_SCAN_COUNT = 500
_DECODED_AT_ONCE = 64

# Bounds the stream where no owner trims it. One that falls further behind sees the gap and begins anew.
_EVENTS_AT_MOST = 20_000

_LOST: dict[int, frozenset[Seat]] = {
    0: frozenset(),
    1: frozenset(("a",)),
    2: frozenset(("b",)),
    3: frozenset(("a", "b")),
}


class RedisQueues:
    """Pools on one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = {name: load_script(redis, f"queue_{name}") for name in _SCRIPTS}

    async def put(
        self, ticket: Ticket, *, issued_at: int | None = None, create: bool = True, paused: bool = False
    ) -> Put:
        reply = await self._run(
            "put",
            self._ticket_keys(ticket.intent),
            ticket.ticket_id,
            ticket.side,
            encode_ticket(ticket),
            "" if issued_at is None else issued_at,
            int(create),
            _EVENTS_AT_MOST,
            int(paused),
        )
        return Put(reply.decode())

    async def leave(self, pool: str, ticket_id: TicketId) -> Left:
        reply = await self._run("leave", self._ticket_keys(pool), ticket_id, _EVENTS_AT_MOST)
        return Left(reply.decode())

    async def state(self, pool: str, ticket_id: TicketId) -> TicketState:
        with unavailable_when_away():
            value: Any = await self._redis.hget(self._keys.tickets(pool), ticket_id)
        return TicketState("" if value is None else chr(value[0]))

    async def states(self, pool: str, ticket_ids: Sequence[TicketId]) -> list[TicketState]:
        if not ticket_ids:
            return []
        letters = await self._run("states", [self._keys.tickets(pool)], *ticket_ids)
        return [TicketState(letter.strip("-")) for letter in letters.decode()]

    async def find(self, pool: str, ticket_id: TicketId) -> StoredTicket | None:
        with unavailable_when_away():
            value: Any = await self._redis.hget(self._keys.tickets(pool), ticket_id)
        return None if value is None else _read(pool, value, ticket_id)

    async def pause(
        self, pool: str, ticket_ids: Sequence[TicketId], *, anew: bool = False
    ) -> list[TicketState]:
        if not ticket_ids:
            return []
        reply = await self._run("pause", self._ticket_keys(pool), _EVENTS_AT_MOST, int(anew), *ticket_ids)
        return [TicketState(letter.decode()) for letter in reply]

    async def drop_paused(
        self, pool: str, token: str, ticket_ids: Sequence[TicketId], *, paused_s: float
    ) -> list[Ticket]:
        if not ticket_ids:
            return []
        reply = await self._run(
            "drop",
            [*self._ticket_keys(pool), self._keys.pool_owner(pool)],
            token,
            round(paused_s * 1000),
            _EVENTS_AT_MOST,
            *ticket_ids,
        )
        dropped = (_read(pool, value) for value in reply)
        return [stored.ticket for stored in dropped if stored is not None]

    async def acknowledge(self, pool: str, known: Mapping[CallId, Collection[Seat]]) -> list[bool]:
        args = [arg for call_id, seats in known.items() for arg in (call_id, "".join(seats))]
        return [bool(there) for there in await self._run("ack", [self._keys.matches(pool)], *args)]

    async def resolve(self, ref: SeatRef, *, returns: bool, paused: bool = False) -> TicketState:
        reply = await self._run(
            "resolve",
            [*self._ticket_keys(ref.intent), self._keys.matches(ref.intent)],
            ref.call_id,
            ref.seat,
            ref.ticket_id,
            ("p" if paused else "w") if returns else "",
            ref.peer_id,
            _EVENTS_AT_MOST,
        )
        return TicketState(reply.decode())

    async def settle(self, pool: str, call_id: CallId) -> bool:
        keys = self._keys
        return bool(
            await self._run(
                "settle", [keys.tickets(pool), keys.matches(pool), keys.pool_counts(pool)], call_id
            )
        )

    async def depths(self, pool: str) -> Depths:
        fields = [
            (side, state) for side in Gender for state in TicketState if state is not TicketState.ABSENT
        ]
        with unavailable_when_away():
            values = await self._redis.hmget(
                self._keys.pool_counts(pool), [f"{side}:{state}" for side, state in fields]
            )
        depths: Depths = {side: {} for side in Gender}
        for (side, state), value in zip(fields, values, strict=True):
            depths[side][state] = int(value or 0)
        return depths

    async def enrol(self, member: str, pools: Sequence[str], *, ttl_ms: int) -> dict[str, set[str]]:
        reply = await self._run(
            "enrol", [self._keys.matchmakers()], ttl_ms, *(f"{member} {pool}" for pool in pools)
        )
        standing: dict[str, set[str]] = {}
        for each in reply:
            who, _, pool = each.decode().partition(" ")
            standing.setdefault(pool, set()).add(who)
        return standing

    async def owned_for(self, pool: str) -> int:
        with unavailable_when_away():
            left_ms: int = await self._redis.pttl(self._keys.pool_owner(pool))
        return max(0, left_ms)

    async def take_lease(self, pool: str, nonce: str, *, ttl_ms: int) -> Lease:
        return await self._lease("take", pool, nonce, ttl_ms)

    async def keep_lease(self, pool: str, token: str, *, ttl_ms: int) -> Lease:
        return await self._lease("keep", pool, token, ttl_ms)

    async def drop_lease(self, pool: str, token: str) -> None:
        await self._lease("drop", pool, token, 0)

    async def scan(self, pool: str) -> list[StoredTicket]:
        found: dict[TicketId, StoredTicket] = {}
        async for part in self.scan_in_parts(pool):
            found.update((each.ticket.ticket_id, each) for each in part)
        return list(found.values())

    async def scan_in_parts(self, pool: str) -> AsyncIterator[list[StoredTicket]]:
        asked = asyncio.ensure_future(self._scan_from(pool, 0))
        try:
            while True:
                cursor, page = await asked
                if cursor:
                    # The store looks for the next while these are decoded.
                    asked = asyncio.ensure_future(self._scan_from(pool, cursor))
                    await asyncio.sleep(0)
                stored = list(page.items())
                for start in range(0, len(stored), _DECODED_AT_ONCE):
                    share = stored[start : start + _DECODED_AT_ONCE]
                    read = [_read(pool, value, ticket_id.decode()) for ticket_id, value in share]
                    yield [each for each in read if each is not None]
                if not cursor:
                    return
        finally:
            asked.cancel()

    async def _scan_from(self, pool: str, cursor: int) -> tuple[int, dict[bytes, bytes]]:
        with unavailable_when_away():
            found: Any = await self._redis.hscan(self._keys.tickets(pool), cursor, count=_SCAN_COUNT)
        return found[0], found[1]

    async def matches(self, pool: str) -> list[MatchRecord]:
        with unavailable_when_away():
            stored: Any = await self._redis.hgetall(self._keys.matches(pool))
        return list(_match_records(pool, stored.items()).values())

    async def match_records(self, pool: str, call_ids: Sequence[CallId]) -> dict[CallId, MatchRecord]:
        if not call_ids:
            return {}
        with unavailable_when_away():
            values: Any = await self._redis.hmget(self._keys.matches(pool), list(call_ids))
        found = zip(call_ids, values, strict=True)
        return _match_records(
            pool, [(call_id.encode(), value) for call_id, value in found if value is not None]
        )

    async def events(self, pool: str, cursor: str, *, limit: int, block_ms: int) -> EventBatch:
        with unavailable_when_away():
            reply = await self._redis.xread({self._keys.arrivals(pool): cursor}, count=limit, block=block_ms)
        if not reply:
            return EventBatch(cursor, ())
        entries = _only_stream(reply)
        events = tuple((int(fields[b"n"]), _event(pool, entry_id, fields)) for entry_id, fields in entries)
        return EventBatch(entries[-1][0].decode(), events)

    async def trim(self, pool: str, token: str, cursor: str) -> None:
        await self._run("trim", [self._keys.arrivals(pool), self._keys.pool_owner(pool)], token, cursor)

    async def publish(self, pool: str, token: str, outlook: Outlook, *, ttl_ms: int) -> bool:
        keys = [self._keys.outlook(pool), self._keys.pool_owner(pool)]
        return bool(await self._run("outlook", keys, token, encode_outlook(outlook), ttl_ms))

    async def outlook(self, pool: str) -> Outlook | None:
        with unavailable_when_away():
            stored: Any = await self._redis.get(self._keys.outlook(pool))
        try:
            return None if stored is None else decode_outlook(stored)
        except ValueError as error:
            # Of another release, while the two run side by side: people wait on without being told how long.
            logger.warning("unreadable outlook", pool=pool, reason=str(error))
            return None

    async def claim(self, pool: str, token: str, matches: Sequence[Match]) -> ClaimReply:
        keys = self._keys
        args: list[str | bytes] = [token]
        for match in matches:
            args += (match.a.ticket_id, match.b.ticket_id, match.call_id, encode_match(match))
        current, now_ms, number, *codes = await self._run(
            "claim",
            [keys.tickets(pool), keys.matches(pool), keys.pool_counts(pool), keys.pool_owner(pool)],
            *args,
        )
        return ClaimReply(bool(current), now_ms, number, tuple(Claimed(_LOST[code]) for code in codes))

    async def _lease(self, verb: str, pool: str, who: str, ttl_ms: int) -> Lease:
        keys = self._keys
        token, now_ms, held_ms, cursor, number = await self._run(
            "lease", [keys.pool_owner(pool), keys.pool_counts(pool), keys.arrivals(pool)], verb, who, ttl_ms
        )
        return Lease(token.decode(), now_ms, held_ms, cursor.decode(), number)

    async def _run(self, script: str, keys: list[str], *args: str | bytes | int) -> Any:
        with unavailable_when_away():
            return await self._scripts[script](keys=keys, args=args)

    def _ticket_keys(self, pool: str) -> list[str]:
        return [self._keys.tickets(pool), self._keys.arrivals(pool), self._keys.pool_counts(pool)]


def _stored_ticket(value: bytes) -> StoredTicket:
    state, _, apart, payload = value.split(b"|", 3)
    ticket = decode_ticket(payload)
    if apart:
        kept = frozenset(UserId(user) for user in apart.decode().split(",") if user)
        ticket = msgspec.structs.replace(ticket, exclusions=ticket.exclusions | kept)
    letter, _, detail = state.decode().partition(":")
    return StoredTicket(ticket, TicketState(letter), int(detail) if letter == TicketState.PAUSED else 0)


def _read(pool: str, value: bytes, ticket_id: str = "") -> StoredTicket | None:
    """None where nobody here can read it: one such ticket must not keep all the others from being matched."""
    try:
        return _stored_ticket(value)
    except ValueError as error:
        logger.error("unreadable ticket", pool=pool, ticket_id=ticket_id or None, reason=str(error))
        return None


def _event(pool: str, entry_id: bytes, fields: dict[bytes, bytes]) -> PoolEvent:
    ticket_id = TicketId(fields[b"t"].decode())
    match fields[b"e"]:
        case b"+":
            stored = _read(pool, fields[b"v"], ticket_id)
            if stored is None:
                return Departed(ticket_id)
            return Arrived(stored.ticket, int(entry_id.partition(b"-")[0]))
        case b"p":
            return Paused(ticket_id, int(fields[b"v"]))
        case b"-":
            return Departed(ticket_id)
        case other:
            raise ValueError(f"not a pool event: {other!r}")


def _match_records(pool: str, stored: Iterable[tuple[bytes, bytes]]) -> dict[CallId, MatchRecord]:
    records = {}
    for call_id, value in stored:
        try:
            records[CallId(call_id.decode())] = _match_record(value)
        except ValueError as error:
            logger.error("unreadable match", pool=pool, call_id=call_id.decode(), reason=str(error))
    return records


def _match_record(value: bytes) -> MatchRecord:
    progress, claimed_at, _, _, payload = value.split(b"|", 4)
    match = msgspec.structs.replace(decode_match(payload), claimed_at_ms=int(claimed_at))
    return MatchRecord(match, Progress(chr(progress[0])), Progress(chr(progress[1])))


def _only_stream(reply: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a reply of XREAD about one stream, in RESP2's form (pairs) or RESP3's (a map)."""
    streams = reply.values() if isinstance(reply, dict) else [entries for _, entries in reply]
    (entries,) = streams
    # RESP3 wraps the entries of each stream in one more list.
    return entries[0] if entries and isinstance(entries[0], list) else entries


if TYPE_CHECKING:  # the port is the matchmaker's; this says that it is met
    _fits: type[QueueStore] = RedisQueues
