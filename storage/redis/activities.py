"""The user's slot in Redis: `matchmaker.ports.Activities`.

Decides nothing; every rule is in the scripts, each of which touches one user's keys only.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from base.ids import DeviceId, NodeId, SessionId, UserId
from matchmaker.activity import Activity, InCall, Queued, parse_activity
from matchmaker.matches import SeatRef
from matchmaker.ports import Activities, Caller, Declined, Entered, Slot, Taken, UnknownSession
from storage.redis.client import load_script, unavailable_when_away
from storage.redis.keys import Keys

_STRANGER = b"stranger"
_ENTERED = {b"entered": Entered.ENTERED, b"blocked": Entered.BLOCKED, b"gone": Entered.GONE}


class RedisActivities:
    """Users' slots on one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._read = load_script(redis, "user_read")
        self._join = load_script(redis, "user_join")
        self._leave = load_script(redis, "user_leave")
        self._enter_call = load_script(redis, "user_enter_call")
        self._return = load_script(redis, "user_return")
        self._free = load_script(redis, "user_free")
        self._part = load_script(redis, "user_part")

    async def read(self, user_id: UserId) -> Slot:
        with unavailable_when_away():
            reply = await self._read(keys=[self._keys.user(user_id)])
        return _slot(*reply)

    async def join(
        self,
        user_id: UserId,
        caller: Caller,
        queued: Queued,
        *,
        replaces: Activity | None = None,
        queued_at: int | None = None,
        met_s: float = 0,
    ) -> Taken:
        with unavailable_when_away():
            reply = await self._join(
                keys=[self._keys.user(user_id), self._keys.blocks(user_id), self._keys.recent(user_id)],
                args=[
                    str(queued),
                    caller.device_id,
                    "" if replaces is None else str(replaces),
                    "" if queued_at is None else queued_at,
                    round(met_s * 1000),
                    *_caller_args(caller),
                ],
            )
        if reply == _STRANGER:
            raise UnknownSession
        taken, now_ms, activity, device, since, blocked, recent, met, pause_ms = reply
        return Taken(
            taken=bool(taken),
            slot=_slot(now_ms, activity, device, since),
            exclusions=frozenset(UserId(user.decode()) for user in (*blocked, *recent)),
            met=frozenset(UserId(user.decode()) for user in met),
            pause_ms=pause_ms,
        )

    async def leave(self, user_id: UserId, activity: Activity, *, talked: bool = False) -> bool:
        with unavailable_when_away():
            return bool(await self._leave(keys=[self._keys.user(user_id)], args=[str(activity), int(talked)]))

    async def enter_call(self, ref: SeatRef, caller: Caller | None = None) -> Entered:
        with unavailable_when_away():
            reply = await self._enter_call(
                keys=[self._keys.user(ref.user_id), self._keys.blocks(ref.user_id)],
                args=[*_activities(ref), ref.peer_id, *_row_args(caller), ""],
            )
        if reply == _STRANGER:
            raise UnknownSession
        return _ENTERED[reply]

    async def return_from_call(self, ref: SeatRef, *, apart_s: float) -> bool:
        with unavailable_when_away():
            reply = await self._return(
                keys=[self._keys.user(ref.user_id), self._keys.recent(ref.user_id)],
                args=[*_activities(ref), ref.peer_id, round(apart_s * 1000)],
            )
        return bool(reply)

    async def restore_call(
        self, user_id: UserId, caller: Caller, in_call: InCall, *, came_from: Queued | None, queued_at: int
    ) -> bool:
        with unavailable_when_away():
            reply = await self._enter_call(
                keys=[self._keys.user(user_id), self._keys.blocks(user_id)],
                args=[
                    "" if came_from is None else str(came_from),
                    str(in_call),
                    "",
                    *_row_args(caller),
                    queued_at,
                ],
            )
        if reply == _STRANGER:
            raise UnknownSession
        return _ENTERED[reply] is Entered.ENTERED

    async def free(self, ref: SeatRef, *, apart_s: float, declined: Declined | None = None) -> bool:
        with unavailable_when_away():
            reply = await self._free(
                keys=[self._keys.user(ref.user_id), self._keys.recent(ref.user_id)],
                args=[*_activities(ref), ref.peer_id, round(apart_s * 1000), *_decline_args(declined)],
            )
        return bool(reply)

    async def part(
        self, people: tuple[UserId, UserId], over: Activity, *, apart_s: float, free: Collection[UserId] = ()
    ) -> frozenset[UserId]:
        one, other = people
        with unavailable_when_away():
            async with self._redis.pipeline(transaction=False) as pipe:
                for user_id, partner_id in ((one, other), (other, one)):
                    await self._part(
                        keys=[self._keys.user(user_id), self._keys.recent(user_id)],
                        args=[partner_id, round(apart_s * 1000), str(over) if user_id in free else ""],
                        client=pipe,
                    )
                replies = await pipe.execute()
        return frozenset(user_id for user_id, freed in zip(people, replies, strict=True) if freed)

    async def is_away(self, user_id: UserId) -> bool:
        with unavailable_when_away():
            slot: Any = await self._redis.hgetall(self._keys.user(user_id))
        device = slot.get(b"device", b"")
        row, away = slot.get(b"session:" + device), slot.get(b"away:" + device)
        # What an earlier session of the device said does not count.
        return row is not None and away is not None and row.split(b" ")[1] == away

    async def session_of(self, user_id: UserId, device_id: DeviceId) -> tuple[NodeId, SessionId] | None:
        with unavailable_when_away():
            row: Any = await self._redis.hget(self._keys.user(user_id), f"session:{device_id}")
        if row is None:
            return None
        node, session, *_ = row.decode().split(" ")
        return NodeId(node), SessionId(session)


def _caller_args(caller: Caller) -> list[str | int]:
    return [] if caller.session_id is None else [caller.session_id, caller.generation]


def _row_args(caller: Caller | None) -> tuple[str, str, int]:
    if caller is None:
        return "", "", 0
    return caller.device_id, caller.session_id or "", caller.generation


def _activities(ref: SeatRef) -> tuple[str, str]:
    return str(Queued(ref.intent, ref.ticket_id)), str(InCall(ref.call_id))


def _decline_args(declined: Declined | None) -> list[int]:
    if declined is None:
        return [0]
    return [round(declined.counts_s * 1000), *(round(pause_s * 1000) for pause_s in declined.pauses_s)]


def _slot(now_ms: int, activity: bytes, device: bytes, queued_at: int) -> Slot:
    return Slot(
        now_ms=now_ms,
        activity=parse_activity(activity.decode()) if activity else None,
        device_id=DeviceId(device.decode()) if device else None,
        queued_at=queued_at,
    )


if TYPE_CHECKING:  # the port is the matchmaker's; this says that it is met
    _fits: type[Activities] = RedisActivities
