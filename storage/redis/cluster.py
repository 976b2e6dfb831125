"""Redis Cluster behind the face of one client: each command goes to the primary of its key's slot.

Every primary has one shared connection (`multiplexed.py`), so that what is asked within one turn of the event loop
leaves with one write per primary. Decides where a command goes, and what is done where it was not served: redirections
are followed, scripts that a primary does not know are given to it, and while a primary is away (a failover takes a
second or two) commands wait for its successor.

How long they wait counts from the beginning of the outage and not of the command: a short one is not noticed, and
in a long one each command fails after one try, as with a single server that is away. A command may be sent twice where a
connection was lost, as `multiplexed.py` says; one that a node refused was not done and may be sent any number of times.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import ConnectionPool
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from storage.redis.cluster_pipeline import ClusterPipeline
from storage.redis.errands import LOST, Errand, NotSent, over_the_link, over_the_pool
from storage.redis.metrics import ClusterMetrics
from storage.redis.multiplexed import ALONE, MultiplexedRedis, pack
from storage.redis.outages import Outages
from storage.redis.slots import SLOTS, Address, slot_of
from storage.redis.topology import Topology

PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2)
"""Before each further try; the last goes for all that come after."""
_MOST_REDIRECTS: Final = 5
"""That are followed at once: two nodes that send us to each other have not agreed yet."""
_ASKING: Final = pack(("ASKING",))
_CLUSTER_SLOTS: Final = pack(("CLUSTER", "SLOTS"))
_CLUSTER_INFO: Final = pack(("CLUSTER", "INFO"))
_SERVING: Final = b"cluster_state:ok"

PoolOf = Callable[[Address], ConnectionPool]


# Refused before anything was done, for now.
_NOT_DONE = (NotSent, ClusterDownError, TryAgainError, BusyLoadingError, ReadOnlyError)


class ClusterRedis(Redis):
    """As `redis.asyncio.Redis`, over the primaries of a cluster. `pool_of` makes the pool of one node."""

    def __init__(
        self,
        seeds: Sequence[Address],
        pool_of: PoolOf,
        metrics: ClusterMetrics | None = None,
        *,
        patience_s: float = 2.0,
    ) -> None:
        # What the library wants of a pool (encoding, the shapes of replies) is the same for all nodes.
        super().__init__(connection_pool=pool_of(seeds[0]))
        self._pool_of = pool_of
        self._metrics = metrics or ClusterMetrics()
        self._nodes: dict[Address, MultiplexedRedis] = {}
        self._by_slot: list[MultiplexedRedis | None] = [None] * SLOTS
        self._scripts: dict[str, AsyncScript] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._outages = Outages(patience_s)
        self.topology = Topology(seeds, self._ask_slots)
        self.topology.on_change(self._rearrange)

    def node(self, address: Address) -> MultiplexedRedis:
        """The client of one node; it follows no redirections. Closed when the node has left the cluster."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = MultiplexedRedis(connection_pool=self._pool_of(address))
        return node

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Raises: what `redis.asyncio.Redis` raises, and DataError for what would concern every primary."""
        name = args[0]
        words = tuple(name.split(" ")) if " " in name else (name,)
        slot = slot_of(args)
        if words[0] in ALONE:
            return await self.deliver(Errand(slot, over_the_pool(args, options)))
        command = pack((*words, *args[1:]))
        reply: Any = None
        node = self.target(slot)
        link = None if node is None else node.live
        if link is not None:
            try:
                reply = await link.ask(command)
            except LOST as error:
                reply = error
        if link is None or isinstance(reply, Exception):
            reply = await self.deliver(self.errand(args, command, slot), node, reply)
        options.pop("keys", None)
        shape = self.response_callbacks.get(name)
        return reply if shape is None else shape(reply, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """See `ClusterPipeline`."""
        del shard_hint
        return ClusterPipeline(self, transaction=transaction)

    def register_script(self, script: Any) -> AsyncScript:  # type: ignore[override]  # the library's own stub, too
        registered = super().register_script(script)
        self._scripts[registered.sha] = registered
        return registered

    async def ping(self, **_options: Any) -> bool:
        """Whether every slot is served now; waits for no failover.

        Raises: what keeps a slot from being served.
        """
        await self.topology.refresh()
        if not self.topology.map.is_complete:
            raise ClusterDownError("not every slot has a primary")
        # One that was cut off from the others answers, and serves nothing.
        primaries = self.topology.map.primaries
        answers = await asyncio.gather(*(self.ask_node(one, _CLUSTER_INFO) for one in primaries))
        if not all(_SERVING in answer for answer in answers):
            raise ClusterDownError("a primary does not serve")
        return True

    async def ask_node(self, address: Address, command: bytes) -> Any:
        """A packed command over the shared connection of one node, as it is.

        Raises: its answer, where that is an error; what redis-py raises where the connection is lost.
        """
        node = self.node(address)
        reply = await (node.live or await node.opened()).ask(command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.topology.aclose()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        nodes, self._nodes = self._nodes, {}
        self._by_slot = [None] * SLOTS
        for node in nodes.values():
            await node.aclose(close_connection_pool=True)
        await super().aclose(close_connection_pool)

    # How a command finds its way; for the pipeline as well.

    def target(self, slot: int | None) -> MultiplexedRedis | None:
        """The client of whoever serves the slot, as far as we know."""
        return self._any() if slot is None else self._by_slot[slot]

    def errand(
        self, args: Sequence[Any], command: bytes, slot: int | None, *, patient: bool = True
    ) -> Errand:
        """A packed command for the shared connections."""
        script = self._scripts.get(args[1]) if args[0] == "EVALSHA" else None
        return Errand(slot, over_the_link(command), script, patient)

    async def deliver(
        self, errand: Errand, node: MultiplexedRedis | None = None, trouble: Exception | None = None
    ) -> Any:
        """The reply to an errand; `trouble` is what it met at `node`, where it was sent there already.

        Raises: what stood in its way to the last, or the error that is its answer.
        """
        before: tuple[bytes, ...] = ()
        if not self.topology.map.ranges:
            await self.topology.refresh()
        if trouble is None:
            node = self.target(errand.slot)
        else:
            node, before = await self._another_way(errand, node, trouble)
        while True:
            try:
                if node is None:
                    raise ClusterDownError("nobody is known to serve the slot")
                reply = await errand.send(node, before)
                if isinstance(reply, Exception):
                    raise reply
            except (*LOST, ResponseError) as error:
                node, before = await self._another_way(errand, node, error)
            else:
                self._outages.over(_address_of(node))
                return reply

    async def _another_way(
        self, errand: Errand, node: MultiplexedRedis | None, trouble: Exception
    ) -> tuple[MultiplexedRedis | None, tuple[bytes, ...]]:
        """Where to try next, and what to say there first. Raises `trouble` where there is nothing to try."""
        if isinstance(trouble, AskError):  # MOVED is one
            return await self._redirected(errand, node, trouble)
        if (
            isinstance(trouble, NoScriptError)
            and errand.script is not None
            and errand.loads < _MOST_REDIRECTS
        ):
            # In one write with the command. Each primary that it comes to may be without: replicas are.
            errand.loads += 1
            return node, (pack(("SCRIPT", "LOAD", errand.script.script)),)
        if isinstance(trouble, LOST) and not isinstance(trouble, NotSent | BusyLoadingError):
            errand.lost += 1
            if errand.lost > 1:
                raise trouble
            if isinstance(trouble, RedisConnectionError):
                # An idle connection may have been cut: the node need not be away.
                return node, ()
        elif not isinstance(trouble, _NOT_DONE) and not str(trouble).startswith("UNBLOCKED"):
            raise trouble
        await self._pause(errand, node, trouble)
        return self.target(errand.slot), ()

    async def _redirected(
        self, errand: Errand, node: MultiplexedRedis | None, trouble: AskError
    ) -> tuple[MultiplexedRedis, tuple[bytes, ...]]:
        came_from = self.topology.seeds[0] if node is None else _address_of(node)
        # Where nodes do not know their own names, they are where they were asked.
        to = Address(came_from.host if trouble.host in ("", "?") else trouble.host, trouble.port)
        errand.redirects += 1
        self._metrics.redirects.labels("moved" if isinstance(trouble, MovedError) else "ask").inc()
        if errand.redirects > _MOST_REDIRECTS:
            await self._pause(errand, node, trouble)
        if isinstance(trouble, MovedError):
            self.topology.moved(trouble.slot_id, to)
            return self.node(to), ()
        return self.node(to), (_ASKING,)

    async def _pause(self, errand: Errand, node: MultiplexedRedis | None, trouble: Exception) -> None:
        """Until it is worth another try. Raises `trouble` where that would be too late."""
        address = None if node is None else _address_of(node)
        now = asyncio.get_running_loop().time()
        errand.gives_up_at = min(errand.gives_up_at, self._outages.met(address, now))
        if not errand.patient or now >= errand.gives_up_at:
            self.topology.refresh_soon(avoid=address)
            self._metrics.given_up.inc()
            raise trouble
        self._metrics.waits.inc()
        if errand.pauses:
            await asyncio.sleep(PAUSES_S[min(errand.pauses, len(PAUSES_S)) - 1])
        errand.pauses += 1
        await self.topology.refresh(avoid=address)

    def _any(self) -> MultiplexedRedis | None:
        """For what any primary may answer: always the same one while it is up, for their clocks differ."""
        primaries = self.topology.map.primaries
        if not primaries:
            return None
        now = asyncio.get_running_loop().time()
        return self.node(
            next((one for one in primaries if not self._outages.is_away(one, now)), primaries[0])
        )

    async def _ask_slots(self, address: Address) -> Sequence[Any]:
        return cast("Sequence[Any]", await self.ask_node(address, _CLUSTER_SLOTS))

    def _rearrange(self) -> None:
        """After a change of the map."""
        current = self.topology.map
        self._metrics.primaries.set(len(current.primaries))
        self._metrics.changes.inc()
        clients = {address: self.node(address) for address in current.primaries}
        self._by_slot = [None if one is None else clients[one] for one in current.slots()]
        for address in [one for one in self._nodes if one not in current.nodes]:
            if address not in self.topology.seeds:
                task = asyncio.get_running_loop().create_task(self._nodes.pop(address).aclose(True))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)


def _address_of(node: MultiplexedRedis) -> Address:
    settings = node.connection_pool.connection_kwargs
    return Address(settings["host"], settings["port"])
