"""Changes of calls that other nodes have to hear of: told again until each says that it has.

The bus may lose a message, and whoever sends it may die. So a commit notes in the store which nodes have to hear of it
(`CallStore.commit(untold=...)`); here it is told, acknowledged, and taken off that list in batches. What nobody
acknowledges within a second is told again, by the process that committed it, and where that is gone by the sweep of any
worker: to a node where the call's record says that a seat is now, with the record. Decides when and to whom; what a
seat hears by it is up to the node that it is on.
"""

import asyncio
import heapq
from collections.abc import Collection, Sequence
from itertools import count
from typing import Final

import msgspec

from base.clock import ServerClock
from base.ids import CallId, NodeId
from base.rounds import attempt
from signaling.call.record import Call, encode
from signaling.call.states import SEATS, Seat
from signaling.call.view import must_hear
from signaling.local_call import LocalCalls
from signaling.metrics import CallMetrics
from signaling.node_frames import CallCommitted, CallHeard, Told, decode_frame
from signaling.ports import CallStore, StoredCall, Untold
from signaling.router import Router

GIVEN_UP_AFTER_MS: Final = 10_000
"""A node that has said nothing for so long has lost its lease, and comes back as another that loads what it takes up."""
MAX_WAITING: Final = 20_000
"""Changes that this process watches over itself; of more than that the sweep takes care alone."""

_AGAIN_AFTER_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 3_000
_LOOK_EVERY_S: Final = 0.1
_SAID_AFTER_S: Final = 0.05
_SILENT_TRIES: Final = 3
"""A node that never acknowledged anything may be of a release that does not: it is told so often and no more."""
_TOLD_AT_ONCE: Final = 100


class Telling:
    """What this process has told other nodes, and what it has heard from them."""

    def __init__(
        self, store: CallStore, local: LocalCalls, router: Router, clock: ServerClock, metrics: CallMetrics
    ) -> None:
        self._store = store
        self._local = local
        self._router = router
        self._clock = clock
        self._metrics = metrics
        self._waiting: dict[tuple[CallId, NodeId], list[Untold]] = {}
        self._due: list[tuple[int, int, Untold, int]] = []
        self._order = count()
        self._done: set[Untold] = set()
        """Acknowledged, and still on the store's list."""
        self._answering: set[NodeId] = set()
        self._to_say: dict[NodeId, dict[CallId, int]] = {}
        self._something = asyncio.Event()
        metrics.untold.set_function(self._count)

    # What this process commits.

    def concerned(self, before: Call, after: Call) -> list[Untold]:
        """The nodes that a change has to reach, before it is committed; none where both sit here or notice nothing."""
        return [
            Untold(after.call_id, after.version, self._clock.now_ms(), node_id)
            for node_id in self._others(after)
            if any(must_hear(seat, before, after) for seat in SEATS if after.seat(seat).node_id == node_id)
        ]

    def tell(self, stored: StoredCall, told: Sequence[Told] | None, untold: Sequence[Untold] = ()) -> None:
        """Tells the nodes of the seats that are not here; `untold` is what the store noted with the commit.

        Without `told` each seat is told what follows from the record.
        """
        call, asked = stored.call, {change.node_id for change in untold}
        for node_id in self._others(call):
            # A session that has left this node, as which the record still names it, may be just there: who has it knows.
            theirs = [
                item
                for item in told or ()
                if call.seat(item.seat).node_id == node_id
                or self._router.is_this(call.seat(item.seat).node_id)
            ]
            sender = self._router.node_id if node_id in asked else ""
            frame = CallCommitted(call.call_id, encode(call), stored.rev, theirs, sender, again=told is None)
            self._router.forward(node_id, frame)
        for seat in SEATS:
            record = call.seat(seat)
            if self._router.is_this(record.node_id) and not self._is_here(call, seat):
                # It has gone to another node, which the record does not name yet.
                gone = CallCommitted(call.call_id, encode(call), stored.rev, [], again=True)
                self._router.stray(record.session_id, gone)
        for change in untold:
            self._watch(change, tries=0)

    def acknowledged(self, frame: CallHeard) -> None:
        """A node knows calls as they stood in these versions."""
        sender = NodeId(frame.sender)
        self._answering.add(sender)
        for call_id, version in frame.versions:
            key = CallId(call_id), sender
            waiting = self._waiting.get(key, ())
            self._done.update(change for change in waiting if change.version <= version)
            self._forget(key, [change for change in waiting if change.version > version])
        self._something.set()

    def receive(self, payload: bytes) -> None:
        """The inbox of a process without sessions, to which nothing else is said that it has to know."""
        try:
            frame = decode_frame(payload)
        except msgspec.MsgspecError:
            return
        if isinstance(frame, CallHeard):
            self.acknowledged(frame)

    # What others committed.

    def heard(self, frame: CallCommitted, version: int) -> None:
        """Acknowledges a change, with all that come within the same moment."""
        if not frame.sender:
            return
        if not self._to_say:
            asyncio.get_running_loop().call_later(_SAID_AFTER_S, self._say)
        versions = self._to_say.setdefault(NodeId(frame.sender), {})
        call_id = CallId(frame.call_id)
        versions[call_id] = max(version, versions.get(call_id, 0))

    def _say(self) -> None:
        to_say, self._to_say = self._to_say, {}
        for node_id, versions in to_say.items():
            self._router.forward(node_id, CallHeard(self._router.node_id, list(versions.items())))

    # Telling again.

    async def run(self) -> None:
        """Tells again what this process told, and clears the store's list, until cancelled."""
        while True:
            await self._something.wait()
            await asyncio.sleep(_LOOK_EVERY_S)
            await attempt(self._round, "untold changes could not be told")
            if not self._waiting and not self._done:
                self._something.clear()

    async def sweep(self, limit: int) -> int:
        """Tells again what nobody else seems to care for; of how many changes. Raises: Unavailable."""
        changes = await self._store.untold(limit=limit)
        for change in changes:
            key = change.call_id, change.node_id
            if change not in self._waiting.get(key, ()):
                self._waiting.setdefault(key, []).append(change)
                # Not watched over here: if it is not acknowledged, it falls due again for whoever sweeps then.
                self._due_later(change, GIVEN_UP_AFTER_MS, tries=-1)
        await self._tell_again(changes)
        return len(changes)

    async def _round(self) -> None:
        await self._clear()
        await self._tell_due()

    async def _clear(self) -> None:
        if self._done:
            done = set(self._done)
            await self._store.told(done)
            self._done -= done

    async def _tell_due(self) -> None:
        now_ms = self._clock.monotonic_ms()
        due: list[Untold] = []
        while self._due and self._due[0][0] <= now_ms and len(due) < _TOLD_AT_ONCE:
            _, _, change, tries = heapq.heappop(self._due)
            key = change.call_id, change.node_id
            if change not in self._waiting.get(key, ()):
                continue
            silent = tries >= _SILENT_TRIES and change.node_id not in self._answering
            too_old = self._clock.now_ms() - change.at >= GIVEN_UP_AFTER_MS
            if tries < 0 or silent or too_old:
                self._forget(key, [other for other in self._waiting[key] if other != change])
                if too_old:
                    self._done.add(change)
                continue
            due.append(change)
            self._due_later(change, min(_AGAIN_AFTER_MS << tries, _LONGEST_PAUSE_MS), tries=tries + 1)
        await self._tell_again(due)

    async def _tell_again(self, changes: Collection[Untold]) -> None:
        newest: dict[tuple[CallId, NodeId], Untold] = {}
        for change in changes:
            newest[change.call_id, change.node_id] = change
        for (call_id, node_id), change in newest.items():
            kept = self._local.get(call_id)
            stored = None if kept is None else kept.stored
            if stored is None or stored.call.version < change.version:
                stored = await self._store.load(call_id)
            too_old = self._clock.now_ms() - change.at >= GIVEN_UP_AFTER_MS
            if stored is None or too_old or node_id not in self._others(stored.call):
                # Over and gone; or the seat is elsewhere, where it came with the record.
                self._drop(call_id, node_id, changes)
                continue
            self._metrics.told_again.inc()
            frame = CallCommitted(
                call_id, encode(stored.call), stored.rev, [], self._router.node_id, again=True
            )
            self._router.forward(node_id, frame)

    def _drop(self, call_id: CallId, node_id: NodeId, changes: Collection[Untold]) -> None:
        key = call_id, node_id
        self._done.update(change for change in changes if (change.call_id, change.node_id) == key)
        self._done.update(self._waiting.get(key, ()))
        self._forget(key, [])
        self._something.set()

    def _watch(self, change: Untold, *, tries: int) -> None:
        if len(self._waiting) >= MAX_WAITING:
            return
        self._waiting.setdefault((change.call_id, change.node_id), []).append(change)
        self._due_later(change, _AGAIN_AFTER_MS, tries=tries)

    def _due_later(self, change: Untold, pause_ms: int, *, tries: int) -> None:
        at_ms = self._clock.monotonic_ms() + pause_ms
        heapq.heappush(self._due, (at_ms, next(self._order), change, tries))
        self._something.set()

    def _forget(self, key: tuple[CallId, NodeId], left: list[Untold]) -> None:
        if left:
            self._waiting[key] = left
        else:
            self._waiting.pop(key, None)

    def _others(self, call: Call) -> set[NodeId]:
        """Where the seats are whose sessions are not here."""
        return {
            call.seat(seat).node_id
            for seat in SEATS
            if not self._router.is_this(call.seat(seat).node_id) and not self._is_here(call, seat)
        }

    def _is_here(self, call: Call, seat: Seat) -> bool:
        record = call.seat(seat)
        return self._router.here(record.node_id, record.session_id) is not None

    def _count(self) -> float:
        return sum(map(len, self._waiting.values()))
