"""A process that keeps a lease and one session, and tells on standard output what it thinks of itself.

    python leased_process.py <redis URL> <user> <device>

Lines out: `up <node> <session>`, `again <old node> <new node> <generation or lost>`, and for each line in:
`<node> held|lapsed`.
"""

import asyncio
import os
import sys

import structlog
from prometheus_client import CollectorRegistry

from base.clock import ServerClock, SystemClock
from base.ids import DeviceId, IdFactory, NodeId, SessionId, UserId
from presence.metrics import PresenceMetrics
from presence.node_lease import NodeLease
from presence.nodes import NodeStats, UserState
from presence.registry import Registry
from presence.sessions import Registration
from storage.redis.client import connect
from storage.redis.keys import Keys
from storage.redis.nodes import RedisNodes
from storage.redis.presence import RedisSessions


async def main(url: str, user: str, device: str) -> None:
    redis, keys, clock = connect(url), Keys("test:"), ServerClock(SystemClock())
    nodes = RedisNodes(redis, keys)
    registry = Registry(RedisSessions(redis, keys), nodes)
    new_id = IdFactory(clock.now_ms, os.urandom).new
    lease = NodeLease(
        nodes,
        "serve",
        clock,
        new_id,
        lambda: NodeStats(users={UserState.IDLE: 1}),
        PresenceMetrics(CollectorRegistry()),
    )
    session = SessionId(new_id())

    def registration() -> Registration:
        return Registration(UserId(user), DeviceId(device), session, lease.node_id, clock.now_ms())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lease.run())
        await lease.acquired()
        generation = (await registry.register(registration())).generation

        async def again(old: NodeId, new: NodeId) -> None:
            nonlocal generation
            moved = await registry.reassert(registration(), generation)
            generation = moved or 0
            print("again", old, new, moved or "lost", flush=True)

        def asked() -> None:
            if not sys.stdin.readline():
                asyncio.get_running_loop().remove_reader(sys.stdin)
            print(lease.node_id, "lapsed" if lease.is_lapsed else "held", flush=True)

        lease.on_incarnation(again)
        asyncio.get_running_loop().add_reader(sys.stdin, asked)
        print("up", lease.node_id, session, flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
