"""What the hub needs from outside, as the hub wants it; `storage` fits these, `minuet.wiring` joins them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from base.ids import CallId, NodeId
from signaling.call.record import Call

ATTEMPTS: Final = 8
"""How often a change of a call is decided anew because somebody's commit came first."""
BACKOFF_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
"""What lies between the tries to commit what must not be lost."""


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call record as it stands in the store; `rev` is random and new with each commit."""

    call: Call
    rev: str


@dataclass(frozen=True, slots=True)
class Untold:
    """A change that a node has not acknowledged: version `version` of a call, committed `at` that Unix ms."""

    call_id: CallId
    version: int
    at: int
    node_id: NodeId


class CallStore(Protocol):
    """Call records, changed by compare-and-set. Every method raises `base.errors.Unavailable`."""

    async def create(self, call: Call, *, claimed_at_ms: int) -> StoredCall | None:
        """Stores the call if it is absent and answers with what is stored.

        None where it is absent and the claim is older than 10 s: nobody is rung that late.
        """
        ...

    async def load(self, call_id: CallId) -> StoredCall | None: ...

    async def commit(
        self, before: StoredCall, call: Call, *, untold: Sequence[Untold] = (), confirm: bool = False
    ) -> StoredCall | None:
        """Replaces `before` by `call`; None when somebody else was quicker.

        In the same step: the earliest timer goes into the deadlines index, an ended call goes out of it and into
        the list that the recorder reads, and `untold` is noted until it is `told`. With `confirm` it answers when a
        replica has the commit too, where there is one that is quick enough.
        """
        ...

    async def restore(self, known: StoredCall) -> StoredCall | None:
        """Puts a record back, under its own rev and with all that belongs to it, if the store has none of that call.

        Returns: None when it was put back, else what the store has.
        """
        ...

    async def told(self, changes: Collection[Untold]) -> None:
        """These need not be told again: acknowledged, or nobody's business any more."""
        ...

    async def untold(self, *, limit: int) -> list[Untold]:
        """Takes changes that nobody acknowledged for a second or longer, the longest waiting first.

        A change that was taken is due again a second later, and later each time.
        """
        ...

    async def due(self, *, overdue_ms: int, limit: int) -> list[CallId]:
        """Calls whose earliest timer passed at least `overdue_ms` ago, by the store's clock."""
        ...

    async def count_by_state(self) -> dict[str, int]:
        """How many calls stand in each state but `ended`."""
        ...


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames to `node_id` did not arrive, and will not: those of `sender`, or, where that is None, nobody knows whose."""

    node_id: NodeId
    sender: NodeId | None = None
    missed: int = 0
    """How many; 0 where nobody knows."""
    asked: frozenset[NodeId] = frozenset()
    """Of these nothing is lost yet: they have been asked for what was missed, and another gap is told if it cannot be had."""


class Bus(Protocol):
    """Frames from node to node: at most once, in order from one sender, never awaited."""

    def publish(self, node_id: NodeId, frame: bytes) -> None:
        """Queues a frame; frames to one node within one turn of the event loop leave together."""
        ...

    async def listen(self, node_id: NodeId, receive: Callable[[bytes], None]) -> None:
        """Feeds the frames for this node to `receive` until cancelled; reconnects by itself."""
        ...
