"""Leases of node incarnations in Redis, and what dead ones left.

The lease key is the truth: an incarnation lives while it exists. The list of all nodes, in a slot of its own, only says
where to look; it is written after the lease, never before.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from secrets import token_hex
from typing import Any

import structlog
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.continuity import RESTORING_MS, Mark
from presence.nodes import LEASE_TTL_MS, RENEW_EVERY_MS, Incarnation, NodeInfo, NodeStats, Renewal, UserState
from presence.sessions import LostSession
from storage.redis.client import UNAVAILABLE_ERRORS, load_script
from storage.redis.cluster import ClusterRedis
from storage.redis.keys import CALL_PARTITIONS, Keys
from storage.redis.multiplexed import pack
from storage.redis.shards import one_key_each
from storage.redis.slots import SlotMap

logger = structlog.get_logger(__name__)

# Whoever renewed its lease within this time has one for at least as long again.
FRESH_MS = LEASE_TTL_MS - 2 * RENEW_EVERY_MS
LIST_TTL_MS = 24 * 3_600_000
MARK_TIMEOUT_S = 0.5


class RedisNodes:
    """Fits `presence.ports.LeaseStore`, `DeadNodeStore` and `Nodes`, and `matchmaker.ports.NodeLiveness`."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        # As the bus does it, see `bus_wires`.
        self._publish = "SPUBLISH" if isinstance(redis, ClusterRedis) else "PUBLISH"
        self._renew = load_script(redis, "node_renew")
        self._enlist = load_script(redis, "node_enlist")
        self._listed = load_script(redis, "node_listed")
        self._forget = load_script(redis, "node_forget")
        self._mark = load_script(redis, "node_mark")
        # Chosen anew when the cluster's slots have moved; which they never have on a single server.
        self._asked_parts: tuple[SlotMap | None, Sequence[int]] | None = None
        self._reap = load_script(redis, "presence_reap")

    # --- for the node itself ---------------------------------------------------------------------------------

    async def acquire(self, node: Incarnation, stats: NodeStats) -> Renewal:
        return await self._hold("acquire", node, stats)

    async def renew(self, node: Incarnation, stats: NodeStats) -> Renewal:
        return await self._hold("renew", node, stats)

    async def marks(self) -> list[Mark]:
        parts = await self._parts()
        answers = await _of_each(map(self._mark_of, parts))
        return [answer for answer in answers if isinstance(answer, Mark)]

    async def ask_to_hold_back(self, for_ms: int) -> None:
        async def ask(part: int) -> None:
            async with asyncio.timeout(MARK_TIMEOUT_S):
                await self._redis.set(self._keys.restoring(part), 1, px=for_ms)

        await _of_each(map(ask, await self._parts()))

    async def release(self, node_id: NodeId) -> None:
        try:
            await self._redis.delete(self._keys.node_lease(node_id), self._keys.node_stats(node_id))
            # Its last renewal is recent: without this it would pass for alive until that is old.
            await self._redis.zadd(self._keys.nodes(), {node_id: 0}, xx=True)
            await self._drop_if_empty(node_id)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def _parts(self) -> Sequence[int]:
        """One partition of calls on each primary: its keys tell of the fate of all that is there."""
        slots = self._redis.topology.map if isinstance(self._redis, ClusterRedis) else None
        if self._asked_parts is None or self._asked_parts[0] is not slots:
            by_key = {self._keys.epoch(part): part for part in range(CALL_PARTITIONS)}
            try:
                chosen = await one_key_each(self._redis, list(by_key))
            except UNAVAILABLE_ERRORS:
                return ()
            slots = self._redis.topology.map if isinstance(self._redis, ClusterRedis) else None
            self._asked_parts = slots, tuple(by_key[key] for key in chosen)
        return self._asked_parts[1]

    async def _mark_of(self, part: int) -> Mark:
        # A primary that does not answer must not keep the lease, which may be another's, from being renewed.
        async with asyncio.timeout(MARK_TIMEOUT_S):
            epoch, history, restoring_ms, is_new = await self._mark(
                keys=[self._keys.epoch(part), self._keys.restoring(part)], args=[token_hex(8)]
            )
            if is_new and await self._somebody_listens():
                # Empty, and not fresh: others are there, who have yet to notice. Whoever comes next is told, too.
                restoring_ms = RESTORING_MS
                await self._redis.set(self._keys.restoring(part), 1, px=RESTORING_MS)
        return Mark(str(part), epoch.decode(), history.decode(), restoring_ms)

    async def _somebody_listens(self) -> bool:
        """Whether any node has its inbox open: subscriptions outlive a flush, and soon come back after a restart."""
        inboxes = self._keys.node_inbox("*")
        if not isinstance(self._redis, ClusterRedis):
            return bool(await self._redis.pubsub_channels(inboxes))
        asked = pack(("PUBSUB", "SHARDCHANNELS", inboxes))
        primaries = self._redis.topology.map.primaries
        answers = await _of_each(self._redis.ask_node(primary, asked) for primary in primaries)
        return any(answer for answer in answers if isinstance(answer, list))

    async def _hold(self, mode: str, node: Incarnation, stats: NodeStats) -> Renewal:
        keys = self._keys
        node_id = node.node_id
        try:
            held, seconds, micros = await self._renew(
                keys=[keys.node_lease(node_id), keys.node_sessions(node_id), keys.node_stats(node_id)],
                args=[
                    mode,
                    f"{node.role} {node.started_at}",
                    LEASE_TTL_MS,
                    LIST_TTL_MS,
                    self._publish,
                    keys.node_inbox(node_id),
                    *_encode_stats(stats),
                ],
            )
            if held:
                # In another slot, hence another step. Should it fail, the renewal as a whole has failed.
                await self._enlist(keys=[keys.nodes()], args=[node_id])
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return Renewal(bool(held), seconds * 1000 + micros // 1000)

    # --- for whoever asks ------------------------------------------------------------------------------------

    async def living(self) -> set[NodeId]:
        try:
            return set(await self._living())
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def nodes(self) -> list[NodeInfo]:
        try:
            living = await self._living()
            pipeline = self._redis.pipeline(transaction=False)
            for node_id in living:
                pipeline.get(self._keys.node_lease(node_id))
                pipeline.hgetall(self._keys.node_stats(node_id))
            answers = await pipeline.execute() if living else []
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        found = []
        for (node_id, renewed_at), lease, stats in zip(
            living.items(), answers[::2], answers[1::2], strict=True
        ):
            if lease is None:
                continue  # ended between the two looks
            role, started_at = lease.decode().rsplit(" ", 1)
            found.append(NodeInfo(node_id, role, int(started_at), renewed_at, _decode_stats(stats)))
        return sorted(found, key=lambda node: (node.started_at, node.node_id))

    # --- for the reaper --------------------------------------------------------------------------------------

    async def dead(self) -> list[NodeId]:
        try:
            now_ms, listed = await self._all()
            stale = [node_id for node_id, renewed_at in listed.items() if now_ms - renewed_at > FRESH_MS]
            leased = await self._leased(stale)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return [node_id for node_id in stale if node_id not in leased]

    async def listed_sessions(self, node_id: NodeId, *, limit: int) -> list[LostSession]:
        try:
            members: Any = await self._redis.srandmember(self._keys.node_sessions(node_id), limit)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return [decode_member(member) for member in members]

    async def reap(self, node_id: NodeId, session: LostSession) -> bool:
        try:
            lost = await self._reap(
                keys=[self._keys.user(session.user_id)],
                args=[session.device_id, node_id, session.session_id],
            )
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error
        return bool(lost)

    async def unlist(self, node_id: NodeId, sessions: Sequence[LostSession]) -> None:
        if not sessions:
            return
        members = [encode_member(lost.user_id, lost.device_id, lost.session_id) for lost in sessions]
        try:
            await self._redis.srem(self._keys.node_sessions(node_id), *members)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def forget(self, node_id: NodeId) -> bool:
        try:
            return await self._drop_if_empty(node_id)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable from error

    async def _drop_if_empty(self, node_id: NodeId) -> bool:
        keys = self._keys
        gone = await self._forget(
            keys=[keys.node_lease(node_id), keys.node_sessions(node_id), keys.node_stats(node_id)]
        )
        if gone:
            await self._redis.zrem(keys.nodes(), node_id)
        return bool(gone)

    # --- the list --------------------------------------------------------------------------------------------

    async def _living(self) -> dict[NodeId, int]:
        now_ms, listed = await self._all()
        fresh = {node_id for node_id, renewed_at in listed.items() if now_ms - renewed_at <= FRESH_MS}
        leased = await self._leased([node_id for node_id in listed if node_id not in fresh])
        return {
            node_id: renewed_at
            for node_id, renewed_at in listed.items()
            if node_id in fresh or node_id in leased
        }

    async def _all(self) -> tuple[int, dict[NodeId, int]]:
        now_ms, *listed = await self._listed(keys=[self._keys.nodes()])
        return now_ms, {
            NodeId(node.decode()): renewed_at
            for node, renewed_at in zip(listed[::2], listed[1::2], strict=True)
        }

    async def _leased(self, node_ids: Sequence[NodeId]) -> set[NodeId]:
        if not node_ids:
            return set()
        pipeline = self._redis.pipeline(transaction=False)
        for node_id in node_ids:
            pipeline.exists(self._keys.node_lease(node_id))
        return {node_id for node_id, exists in zip(node_ids, await pipeline.execute(), strict=True) if exists}


def encode_member(user_id: UserId, device_id: DeviceId, session_id: SessionId) -> str:
    """How a session stands on its node's list. The device comes last: clients name it, it may hold spaces."""
    return f"{user_id} {session_id} {device_id}"


def decode_member(member: bytes) -> LostSession:
    user_id, session_id, device_id = member.decode().split(" ", 2)
    return LostSession(UserId(user_id), DeviceId(device_id), SessionId(session_id))


def _encode_stats(stats: NodeStats) -> list[str | int]:
    pairs: list[str | int] = []
    for state, count in stats.users.items():
        pairs += (f"users:{state.value}", count)
    for name, count in stats.calls.items():
        pairs += (f"calls:{name}", count)
    return pairs


def _decode_stats(fields: dict[bytes, bytes]) -> NodeStats:
    users: dict[UserState, int] = {}
    calls: dict[str, int] = {}
    known = {state.value: state for state in UserState}
    for name, count in fields.items():
        kind, _, what = name.decode().partition(":")
        if kind == "calls":
            calls[what] = int(count)
        elif kind == "users" and what in known:  # a newer release may count more
            users[known[what]] = int(count)
    return NodeStats(users, calls)


async def _of_each(answers: Iterable[Awaitable[Any]]) -> list[Any]:
    """What each part of the store answers; where one is away, its error: it must not keep the others from being asked."""
    found = await asyncio.gather(*answers, return_exceptions=True)
    for answer in found:
        if isinstance(answer, Exception) and not isinstance(answer, UNAVAILABLE_ERRORS):
            logger.error("a part of the store could not be asked", exc_info=answer)
    return found
