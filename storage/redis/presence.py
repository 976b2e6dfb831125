"""Rows of users' sessions in Redis: the `session:<device>` fields of the user's slot.

Each session also stands on the list of its node's sessions, in another slot: put there before its row is written and
taken off after the row is gone, so that a node that dies in between leaves a name on a list, never a row that nobody
would look for.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.errors import TokenRevoked
from presence.sessions import DevicesFull, Reasserted, Registered, Registration, SessionRow
from storage.redis.client import UNAVAILABLE_ERRORS, load_script
from storage.redis.keys import Keys
from storage.redis.nodes import encode_member

_FIELD = b"session:"
_AWAY = b"away:"


class RedisSessions:
    """Fits `presence.ports.SessionStore`."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._register = load_script(redis, "presence_register")
        self._reassert = load_script(redis, "presence_reassert")
        self._unregister = load_script(redis, "presence_unregister")
        self._away = load_script(redis, "presence_away")

    async def register(
        self, registration: Registration, *, max_devices: int, ignored_nodes: Sequence[NodeId] = ()
    ) -> Registered | DevicesFull:
        try:
            await self._put_on_list(registration)
            answer = await self._register(
                keys=[self._keys.user(registration.user_id)],
                args=[*_row_arguments(registration), max_devices, *ignored_nodes],
            )
            if answer[0] != b"registered":
                await self._take_off_list(registration)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        match answer:
            case [b"registered", generation, before, activity, device, known, away]:
                return Registered(
                    generation=int(generation),
                    superseded=_superseded(registration, before),
                    activity=activity.decode() if activity else "",
                    activity_device=DeviceId(device.decode()) if device else None,
                    blocks_known=bool(known),
                    was_away=bool(away),
                )
            case [b"full", *rows]:
                return DevicesFull(
                    tuple(_row(device, row) for device, row in zip(rows[::2], rows[1::2], strict=True))
                )
            case _:
                raise TokenRevoked

    async def reassert(self, registration: Registration, generation: int) -> Reasserted | None:
        try:
            await self._put_on_list(registration)
            answer = await self._reassert(
                keys=[self._keys.user(registration.user_id)],
                args=[*_row_arguments(registration), generation],
            )
            if answer[0] != b"registered":
                await self._take_off_list(registration)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        match answer:
            case [b"registered", now, known, older]:
                superseded = None if older is None else _row(registration.device_id.encode(), older)
                return Reasserted(int(now), bool(known), superseded)
            case [b"other"]:
                return None
            case _:
                raise TokenRevoked

    async def unregister(self, registration: Registration, generation: int) -> bool:
        try:
            removed = await self._unregister(
                keys=[self._keys.user(registration.user_id)],
                args=[registration.device_id, registration.session_id, generation],
            )
            await self._take_off_list(registration)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return bool(removed)

    async def note_away(self, registration: Registration, generation: int, away: bool) -> bool:
        try:
            noted = await self._away(
                keys=[self._keys.user(registration.user_id)],
                args=[registration.device_id, registration.session_id, generation, int(away)],
            )
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return bool(noted)

    async def sessions(self, user_id: UserId) -> list[SessionRow]:
        try:
            fields: Any = await self._redis.hgetall(self._keys.user(user_id))
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return [
            _row(device := name.removeprefix(_FIELD), row, fields.get(_AWAY + device))
            for name, row in fields.items()
            if name.startswith(_FIELD)
        ]

    async def where(self, user_id: UserId, device_id: DeviceId) -> SessionRow | None:
        try:
            found: Any = await self._redis.hmget(
                self._keys.user(user_id), [f"session:{device_id}", f"away:{device_id}"]
            )
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        row, away = found
        return None if row is None else _row(device_id.encode(), row, away)

    async def _put_on_list(self, registration: Registration) -> None:
        await self._redis.sadd(self._keys.node_sessions(registration.node_id), _member(registration))

    async def _take_off_list(self, registration: Registration) -> None:
        await self._redis.srem(self._keys.node_sessions(registration.node_id), _member(registration))


def _member(registration: Registration) -> str:
    return encode_member(registration.user_id, registration.device_id, registration.session_id)


def _row_arguments(registration: Registration) -> list[str | int]:
    return [
        registration.device_id,
        registration.node_id,
        registration.session_id,
        registration.token_issued_at_ms,
    ]


def _row(device: bytes, row: bytes, away: bytes | None = None) -> SessionRow:
    node_id, session_id, generation = row.decode().split(" ")
    return SessionRow(
        DeviceId(device.decode()),
        NodeId(node_id),
        SessionId(session_id),
        int(generation),
        away=away is not None and away.decode() == session_id,
    )


def _superseded(registration: Registration, before: bytes | None) -> SessionRow | None:
    if before is None:
        return None
    row = _row(registration.device_id.encode(), before)
    # Our own row means that this is a repeat, whose first answer was lost.
    is_ours = (row.node_id, row.session_id) == (registration.node_id, registration.session_id)
    return None if is_ours else row
