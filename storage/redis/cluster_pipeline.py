"""Many commands at once over a cluster: one write for each primary that is concerned, side by side.

Commands of one slot are done in their order; between slots there is none. Decides only that; where a command goes and what
is done about one that was not served is `cluster.py`'s.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError

from storage.redis.errands import Errand
from storage.redis.multiplexed import ALONE, MultiplexedRedis, pack, shaped
from storage.redis.slots import slot_of

if TYPE_CHECKING:  # it makes these
    from storage.redis.cluster import ClusterRedis


class ClusterPipeline(Pipeline):
    """As the library's, but for what concerns several slots.

    `execute` raises the first error, after everything was tried. With `raise_on_error=False` errors are among the
    answers, that of a primary which is away included, and nothing waits for a failover: for whoever can do with a part.

    A transaction has to be of one slot. So has a pipeline with WAIT in it, which is about what went over the same
    connection before it; both go over a connection of their own.
    """

    def __init__(self, cluster: "ClusterRedis", *, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Raises: what `ClusterRedis` raises, DataError for what cannot be split."""
        stack = [(args, options) for args, options in self.command_stack]
        try:
            if not stack:
                return []
            names = {str(args[0]) for args, _ in stack}
            if self.is_transaction or "WAIT" in names:
                return await self._over_one_connection(stack, raise_on_error)
            if names & ALONE:
                raise DataError(f"in no pipeline over several primaries: {', '.join(names & ALONE)}")
            return await self._side_by_side(stack, raise_on_error)
        finally:
            await cast("Any", self).reset()

    async def _side_by_side(self, stack: Sequence[tuple[Any, Any]], raise_on_error: bool) -> list[Any]:
        cluster = self._cluster
        errands: list[Errand] = []
        sent: list[tuple[int, asyncio.Future[Any]]] = []
        met: dict[int, tuple[MultiplexedRedis | None, Exception | None]] = {}
        for number, (args, _) in enumerate(stack):
            command = pack((*args[0].split(" "), *args[1:]))
            errand = cluster.errand(args, command, slot_of(args), patient=raise_on_error)
            errands.append(errand)
            node = cluster.target(errand.slot)
            met[number] = node, None
            if node is not None and (link := node.live) is not None:
                with suppress(RedisConnectionError):  # too many wait: it tries again below
                    # Written at the end of this turn, with all that goes the same way.
                    sent.append((number, link.ask(command)))
        replies: list[Any] = [None] * len(stack)
        answers = await asyncio.gather(*(answer for _, answer in sent), return_exceptions=True)
        for (number, _), answer in zip(sent, answers, strict=True):
            if isinstance(answer, Exception):
                met[number] = met[number][0], answer
            else:
                replies[number] = answer
                del met[number]
        late = await asyncio.gather(
            *(cluster.deliver(errands[number], *met[number]) for number in met), return_exceptions=True
        )
        for number, answer in zip(met, late, strict=True):
            replies[number] = answer
        return [
            shaped(self.response_callbacks, command, reply, raise_on_error)
            for command, reply in zip(stack, replies, strict=True)
        ]

    async def _over_one_connection(self, stack: Sequence[tuple[Any, Any]], raise_on_error: bool) -> list[Any]:
        slots = {slot_of(args) for args, _ in stack} - {None}
        if len(slots) != 1:
            raise DataError("a transaction, or a pipeline with WAIT, has to be of one slot")
        scripts = set(self.scripts)

        async def send(node: MultiplexedRedis, _before: tuple[bytes, ...]) -> list[Any]:
            async with node.pipeline(transaction=self.is_transaction) as pipe:
                pipe.command_stack = list(stack)
                pipe.scripts = set(scripts)
                answers: list[Any] = await pipe.execute(raise_on_error)
            return answers

        found: list[Any] = await self._cluster.deliver(Errand(slots.pop(), send))
        return found
