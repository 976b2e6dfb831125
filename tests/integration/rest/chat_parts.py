"""Chat, blocks and reports for REST: the real services on the house's stores, on a node where nobody is connected."""

from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from base.clock import ServerClock, SystemClock
from base.ids import IdFactory, NodeId
from chat.metrics import ChatMetrics
from chat.service import Chat
from safety.block_list import BlockList
from safety.metrics import SafetyMetrics
from safety.service import Safety
from signaling.courier import Courier
from signaling.dispatch.chat import ChatCommands
from signaling.dispatch.safety import SafetyCommands
from signaling.hub import Hub
from signaling.metrics import SessionMetrics
from signaling.router import Router
from signaling.watches import Watches
from storage.postgres.calls import PostgresHistory
from storage.postgres.chat import PostgresMessages
from storage.postgres.connections import PostgresConnections
from storage.postgres.safety import PostgresBlockBook, PostgresSafety
from storage.redis.acquaintances import RedisAcquaintances
from storage.redis.activities import RedisActivities
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions
from storage.redis.safety import RedisSafetyLog


class SilentBus:
    """Nobody is on another node."""

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        raise AssertionError("there is no other node")


def chat_parts(
    redis: Redis, keys: Keys, pool: asyncpg.Pool, ids: IdFactory, calls: Any, patience_s: float
) -> tuple[ChatCommands, SafetyCommands, BlockList]:
    registry, clock, log = CollectorRegistry(), ServerClock(SystemClock()), RedisSafetyLog(redis, keys)
    metrics, hub = ChatMetrics(registry), Hub(clock, SessionMetrics(registry))
    connections = PostgresConnections(pool, timeout_s=patience_s)
    presence = RedisAcquaintances(redis, keys, RedisNodes(redis, keys))
    chat = Chat(
        PostgresMessages(pool, timeout_s=patience_s), connections, log, metrics, ids.new, clock.now_ms
    )
    router = Router(NodeId("rest"), hub, SilentBus())
    commands = ChatCommands(
        chat,
        Courier(RedisSessions(redis, keys), hub, router, metrics),
        Watches(hub, presence, chat.still_open, metrics),
        presence,
    )
    safety = Safety(log, PostgresSafety(pool), ids.new, SafetyMetrics(registry))
    return (
        commands,
        SafetyCommands(safety, calls, PostgresHistory(pool), commands, RedisActivities(redis, keys), clock),
        BlockList(PostgresBlockBook(pool), log),
    )
