"""Chat: what a hub and a worker need of it."""

from chat.metrics import ChatMetrics
from chat.service import Chat
from minuet.wiring.foundation import Foundation
from minuet.wiring.node import Node
from signaling.connecting import Connecting
from signaling.courier import ConnectionTeller, Courier
from signaling.dispatch.chat import ChatCommands
from signaling.watches import Watches
from storage.postgres.chat import PostgresMessages
from storage.postgres.connections import PostgresConnections
from storage.redis.acquaintances import RedisAcquaintances
from storage.redis.presence import RedisSessions
from storage.redis.safety import RedisSafetyLog


class ChatPart:
    """The parts of chat that a node has, put together."""

    def __init__(self, foundation: Foundation, node: Node) -> None:
        redis, keys, now_ms = foundation.redis, foundation.keys, foundation.clock.now_ms
        metrics = ChatMetrics(foundation.registry)
        connections = PostgresConnections(foundation.database, reads=foundation.replica)
        presence = RedisAcquaintances(redis, keys, node.stores.nodes)
        self.blocks = RedisSafetyLog(redis, keys)
        self.service = Chat(
            PostgresMessages(foundation.database),
            connections,
            self.blocks,
            metrics,
            foundation.ids.new,
            now_ms,
        )
        self.courier = Courier(RedisSessions(redis, keys), node.hub, node.router, metrics)
        self.teller = ConnectionTeller(connections, self.courier)
        self.connecting = Connecting(self.service, self.teller, now_ms)
        self.watches = Watches(node.hub, presence, self.service.still_open, metrics)
        self.commands = ChatCommands(self.service, self.courier, self.watches, presence)
