"""Rows of users' sessions in Redis: the `session:<device>` fields of the user's slot.

Each session also stands on the list of its node's sessions, so that the rows of a node that died are found. One server
writes row and list in one step. On a cluster the list is in another slot: the name is put there before the row is written
and taken off after the row is gone, so that a node that dies in between leaves a name on a list, never a row that nobody
would look for.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.errors import BegunAnew, TokenRevoked
from presence.sessions import DevicesFull, Reasserted, Registered, Registration, SessionRow
from storage.redis.client import UNAVAILABLE_ERRORS, load_script
from storage.redis.cluster import ClusterRedis
from storage.redis.keys import Keys
from storage.redis.nodes import encode_member

_FIELD = b"session:"
_AWAY = b"away:"
_REMOVED, _ROW_STAYS = 1, 2


class RedisSessions:
    """Fits `presence.ports.SessionStore`."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._has_list_apart = isinstance(redis, ClusterRedis)
        self._register = load_script(redis, "presence_register")
        self._reassert = load_script(redis, "presence_reassert")
        self._unregister = load_script(redis, "presence_unregister")
        self._away = load_script(redis, "presence_away")

    async def register(
        self, registration: Registration, *, max_devices: int, ignored_nodes: Sequence[NodeId] = ()
    ) -> Registered | DevicesFull:
        before = registration.instead_of
        expected = "" if before is None else f"{before.node_id} {before.session_id} {before.generation}"
        answer = await self._put_down(self._register, registration, max_devices, expected, *ignored_nodes)
        match answer:
            case [b"registered", generation, before, activity, device, known, away]:
                return Registered(
                    generation=int(generation),
                    superseded=None if before is None else _superseded(registration, before),
                    activity=activity.decode() if activity else "",
                    activity_device=DeviceId(device.decode()) if device else None,
                    blocks_known=bool(known),
                    was_away=bool(away),
                )
            case [b"full", *rows]:
                return DevicesFull(
                    tuple(_row(device, row) for device, row in zip(rows[::2], rows[1::2], strict=True))
                )
            case [b"other"]:
                raise BegunAnew
            case _:
                raise TokenRevoked

    async def reassert(self, registration: Registration, generation: int) -> Reasserted | None:
        answer = await self._put_down(self._reassert, registration, generation)
        match answer:
            case [b"registered", now, known, older]:
                superseded = None if older is None else _row(registration.device_id.encode(), older)
                return Reasserted(int(now), bool(known), superseded)
            case [b"other"]:
                return None
            case _:
                raise TokenRevoked

    async def unregister(self, registration: Registration, generation: int) -> bool:
        member = _member(registration)
        try:
            answer = await self._unregister(
                keys=self._keys_of(registration),
                args=[
                    registration.device_id,
                    registration.session_id,
                    generation,
                    member,
                    registration.node_id,
                ],
            )
            if self._has_list_apart and answer != _ROW_STAYS:
                await self._redis.srem(self._keys.node_sessions(registration.node_id), member)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return bool(answer == _REMOVED)

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

    async def _put_down(self, script: AsyncScript, registration: Registration, *more: str | int) -> Any:
        """The answer of a script that writes the row, which stands on its node's list from before that. Raises: Unavailable."""
        member = _member(registration)
        of_node = self._keys.node_sessions(registration.node_id)
        arguments = (
            registration.device_id,
            registration.node_id,
            registration.session_id,
            registration.token_issued_at_ms,
            registration.token_family,
            member,
            *more,
        )
        try:
            if self._has_list_apart:
                await self._redis.sadd(of_node, member)
            answer = await script(keys=self._keys_of(registration), args=arguments)
            if self._has_list_apart and answer[0] != b"registered":
                await self._redis.srem(of_node, member)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return answer

    def _keys_of(self, registration: Registration) -> list[str]:
        user = self._keys.user(registration.user_id)
        return [user] if self._has_list_apart else [user, self._keys.node_sessions(registration.node_id)]


def _member(registration: Registration) -> str:
    return encode_member(registration.user_id, registration.device_id, registration.session_id)


def _row(device: bytes, row: bytes, away: bytes | None = None) -> SessionRow:
    node_id, session_id, generation = row.decode().split(" ")
    return SessionRow(
        DeviceId(device.decode()),
        NodeId(node_id),
        SessionId(session_id),
        int(generation),
        away=away is not None and away.decode() == session_id,
    )


def _superseded(registration: Registration, before: bytes) -> SessionRow | None:
    row = _row(registration.device_id.encode(), before)
    # Our own row means that this is a repeat, whose first answer was lost.
    is_ours = (row.node_id, row.session_id) == (registration.node_id, registration.session_id)
    return None if is_ours else row
