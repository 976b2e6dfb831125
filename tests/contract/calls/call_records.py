"""Calls for tests of the stores: real records, made as a match makes them, then moved on by hand."""

import os
import time

import msgspec
from redis.asyncio import Redis

from base.ids import CallId, ConnectionId, DeviceId, NodeId, SessionId, TicketId, UserId, uuid7
from base.policy import Gender, IntentPolicy
from matchmaker.matches import Match, MatchedSeat
from signaling.call.create import propose
from signaling.call.record import Call, ConsentEvent, ConsentKind
from signaling.call.states import EndReason, State


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def server_ms(redis: Redis) -> int:
    """What the store's own clock says."""
    seconds, micros = await redis.time()
    return seconds * 1000 + micros // 1000


def new_id() -> str:
    return uuid7(now_ms(), os.urandom(10))


def in_partition(partition: int) -> CallId:
    """A new call id whose last byte is `partition`."""
    return CallId(uuid7(now_ms(), os.urandom(9) + bytes([partition])))


def seat(user_id: str, gender: Gender, first_name: str) -> MatchedSeat:
    return MatchedSeat(
        user_id=UserId(user_id),
        device_id=DeviceId("phone"),
        session_id=SessionId(new_id()),
        node_id=NodeId("node-1"),
        ticket_id=TicketId(new_id()),
        queued_at=now_ms() - 5_000,
        gender=gender,
        first_name=first_name,
        age=30,
        languages=("de", "en"),
        verified=False,
    )


def proposed(
    her: str | None = None, him: str | None = None, *, call_id: str | None = None, at: int | None = None
) -> Call:
    """A call that has just been matched: she sits at `a` and controls, he is her guest."""
    moment = now_ms() if at is None else at
    match = Match(
        call_id=CallId(call_id or new_id()),
        intent="dating",
        claimed_at_ms=moment,
        a=seat(her or new_id(), Gender.FEMALE, "Ada"),
        b=seat(him or new_id(), Gender.MALE, "Bob"),
    )
    return propose(match, IntentPolicy(), moment)


def moved(call: Call, state: State, **changes: object) -> Call:
    """The same call one version on, in `state`, with a timer if the state wants one."""
    if state is State.ENDED:
        changes = {"deadline_at": None, "ended_at": now_ms(), "reason": EndReason.HANGUP, **changes}
    else:
        changes = {"deadline_at": now_ms() + 20_000, **changes}
    return msgspec.structs.replace(call, state=state, version=call.version + 1, **changes)


def ended(
    her: str,
    him: str,
    *,
    call_id: str | None = None,
    at: int | None = None,
    reason: EndReason = EndReason.HANGUP,
) -> Call:
    """A call of three minutes that ended at `at`."""
    moment = now_ms() if at is None else at
    call = proposed(her, him, call_id=call_id, at=moment - 200_000)
    return moved(
        call, State.ENDED, live_since=moment - 180_000, closed_at=moment, ended_at=moment, reason=reason
    )


def connected(call: Call, *, connection_id: str | None = None, at: int | None = None) -> Call:
    """The same call, in which the two decided to stay in touch."""
    moment = call.ended_at if at is None else at
    assert moment is not None
    event = ConsentEvent(at=moment, kind=ConsentKind.CONNECTED, by="a")
    return msgspec.structs.replace(
        call,
        connected=True,
        connection_id=ConnectionId(connection_id or new_id()),
        events=(*call.events, event),
    )
