"""What is left at the end: history in PostgreSQL, Redis after everybody went home, and what the server says to each.

Looks again and again until it is quiet, or patience is over: what is left then is what the checker judges.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis, RedisCluster

from tests.chaos.swarm import Swarm
from tests.chaos.swarm_device import Message

_LOOK_S: Final = 0.5
_CONFIRM_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A call as history has it. Unix ms."""

    id: str
    intent: str
    reason: str
    created_at: int
    live_at: int | None
    ended_at: int
    duration_ms: int
    connected: bool
    users: Mapping[str, str]
    """User ids by seat."""
    roles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message of a chat as it is kept."""

    connection: str
    number: int
    id: str
    sender: str
    client_id: str
    body: str


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything that is read at the end."""

    users: Sequence[str]
    """User ids by person."""
    names: Sequence[str]
    """First names by person."""
    genders: Sequence[str]
    """By person."""
    calls: Sequence[KeptCall] = ()
    messages: Sequence[KeptMessage] = ()
    connections: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The two users of each connection."""
    snapshots: Mapping[int, Message] = field(default_factory=dict)
    """What each person is told at signing in once more."""
    leftovers: Sequence[str] = ()
    """What Redis still holds that it should not."""


async def read_final(
    swarm: Swarm, database_url: str, redis_url: str, prefix: str = "minuet:", *, patience_s: float = 20.0
) -> Readings:
    """Ends the swarm and reads what is left. The servers have to be up. A URL of several hosts is a cluster's."""
    before = await _leftovers_at_last(redis_url, prefix, patience_s, sessions=False)
    await swarm.end()
    snapshots = await swarm.look_again()
    leftovers = await _leftovers_at_last(redis_url, prefix, patience_s, sessions=True)
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        calls = await _calls(connection)
        messages = [
            KeptMessage(*row)
            for row in await connection.fetch(
                "SELECT connection_id::text, number, id::text, sender_id::text, client_id, body"
                " FROM chat.messages ORDER BY connection_id, number"
            )
        ]
        connections = {
            row[0]: frozenset((row[1], row[2]))
            for row in await connection.fetch(
                "SELECT id::text, user_low::text, user_high::text FROM chat.connections"
            )
        }
    finally:
        await connection.close()
    people = swarm.world.people[: len(swarm.people)]
    return Readings(
        users=[account.user_id for account in people],
        names=[account.first_name for account in people],
        genders=[account.gender for account in people],
        calls=calls,
        messages=messages,
        connections=connections,
        snapshots=snapshots,
        leftovers=sorted({*before, *leftovers}),
    )


async def _calls(connection: asyncpg.Connection) -> list[KeptCall]:
    seats: dict[str, dict[str, tuple[str, str]]] = {}
    for call_id, seat, user_id, role in await connection.fetch(
        "SELECT call_id::text, seat, user_id::text, role FROM calls.participants"
    ):
        seats.setdefault(call_id, {})[seat] = (user_id, role)
    rows = await connection.fetch(
        "SELECT id::text, intent, reason, (extract(epoch FROM created_at) * 1000)::bigint AS created_at,"
        " (extract(epoch FROM live_at) * 1000)::bigint AS live_at,"
        " (extract(epoch FROM ended_at) * 1000)::bigint AS ended_at, duration_ms, connected"
        " FROM calls.calls ORDER BY created_at"
    )
    return [
        KeptCall(
            **dict(row),
            users={seat: user for seat, (user, _) in seats.get(row["id"], {}).items()},
            roles={seat: role for seat, (_, role) in seats.get(row["id"], {}).items()},
        )
        for row in rows
    ]


async def _leftovers_at_last(redis_url: str, prefix: str, patience_s: float, *, sessions: bool) -> list[str]:
    """What does not go away within the time; nothing counts that is only on its way."""
    redis = _connect(redis_url)
    try:
        until = time.monotonic() + patience_s
        while True:
            found = await leftovers(redis, prefix, sessions=sessions)
            if not found:
                await asyncio.sleep(_CONFIRM_S)
                found = await leftovers(redis, prefix, sessions=sessions)
            if not found or time.monotonic() > until:
                return found
            await asyncio.sleep(_LOOK_S)
    finally:
        await redis.aclose()


async def leftovers(redis: Any, prefix: str, *, sessions: bool) -> list[str]:
    """What is in Redis though nobody waits or talks; `sessions`: nor is anybody signed in."""
    found: list[str] = []
    async for key in redis.scan_iter(match=f"{prefix}*", count=1000):
        name = key.decode().removeprefix(prefix)
        kind = name.rpartition("}:")[2].partition(":")[0]
        match kind:
            case "user":
                fields = {
                    field.decode(): value.decode() for field, value in (await redis.hgetall(key)).items()
                }
                if "activity" in fields:
                    found.append(f"{name}: {fields['activity']}")
                if sessions:
                    found += [f"{name}: {field}" for field in fields if field.startswith("session:")]
            case "tickets" | "matches":
                rows = await redis.hgetall(key) if await redis.type(key) == b"hash" else {b"?": b"?"}
                found += [f"{name}: {field.decode()} {value[:80]!r}" for field, value in rows.items()]
            case "ended" | "deadlines":
                members = await redis.zrange(key, 0, 9)
                found += [f"{name}: {member.decode()}" for member in members]
            case "untold":
                found.append(f"{name}: {(await redis.type(key)).decode()} {await redis.dump(key)!r:.80}")
            case "states":
                rows = await redis.hgetall(key)
                found += [
                    f"{name}: {field.decode()} {value.decode()}"
                    for field, value in rows.items()
                    if int(value)
                ]
            case _:
                pass
    return found


def _connect(redis_url: str) -> Any:
    parts = urlsplit(redis_url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if len(hosts) == 1:
        return Redis.from_url(redis_url)
    host, _, port = hosts[0].partition(":")
    password = parts.netloc.rpartition("@")[0].partition(":")[2] or None
    return RedisCluster(host=host, port=int(port), password=password)
