"""The waiting room: what the owner of a pool knows of it.

Decides what each event of the pool, each passing of time and each answered claim means, and answers with the pairs
to claim. Tickets that are being claimed are in neither index nor pause, so that no ticket is in two pairs; what
happens to them meanwhile is remembered until the claim is answered. Events and claims reach the room on two ways:
the numbers of the pool's events tell which came first.
"""

from collections import Counter, deque
from dataclasses import dataclass
from heapq import heappop, heappush

from base.ids import NodeId, TicketId
from base.policy import Gender, IntentPolicy
from matchmaker.index import Index
from matchmaker.matches import Seat
from matchmaker.pairing import Pair, pair
from matchmaker.ports import Arrived, Departed, Paused, PoolEvent
from matchmaker.scoring import tier_after
from matchmaker.ticket import Ticket


@dataclass(slots=True)
class _Proposed:
    """A ticket in a pair whose claim is not answered yet, and the last that was heard of it meanwhile."""

    ticket: Ticket
    heard: PoolEvent | None = None
    heard_number: int = 0


class WaitingRoom:
    """Tickets of one pool as far as its events tell."""

    def __init__(self, policy: IntentPolicy, index: Index) -> None:
        self._policy = policy
        self._index = index
        self._paused: dict[TicketId, Paused] = {}
        self._proposed: dict[TicketId, _Proposed] = {}
        self._nodes: dict[NodeId, set[TicketId]] = {}
        self._sides: Counter[Gender] = Counter()
        # By claimed ticket, the last event before its claim; forgotten when the events have got there.
        self._claimed: dict[TicketId, int] = {}
        self._claims: deque[tuple[int, TicketId]] = deque()
        # Entries are checked when they are due: tickets come and go without the heap being searched.
        self._widenings: list[tuple[int, TicketId, int]] = []

    def hear(self, number: int, event: PoolEvent, now_ms: int) -> Pair | None:
        """Takes note of the pool's event `number`; the pair that it makes possible, if any."""
        ticket_id = event.ticket.ticket_id if isinstance(event, Arrived) else event.ticket_id
        while self._claims and self._claims[0][0] < number:
            claimed_after, claimed = self._claims.popleft()
            if self._claimed.get(claimed) == claimed_after:
                del self._claimed[claimed]
        if number <= self._claimed.get(ticket_id, -1):
            return None
        proposed = self._proposed.get(ticket_id)
        if proposed is not None:
            proposed.heard, proposed.heard_number = event, number
            return None
        return self._apply(event, now_ms)

    def _apply(self, event: PoolEvent, now_ms: int) -> Pair | None:
        match event:
            case Arrived(ticket):
                return self._arrive(ticket, now_ms)
            case Paused():
                self._take_out(event.ticket_id)
                self._paused[event.ticket_id] = event
            case Departed(ticket_id):
                self._take_out(ticket_id)
        return None

    def widen(self, now_ms: int, limit: int) -> list[Pair]:
        """Relaxes those whose time has come, at most `limit`, and tries each of them once; the pairs found."""
        pairs: list[Pair] = []
        while limit and self._widenings and self._widenings[0][0] <= now_ms:
            limit -= 1
            _, ticket_id, tier = heappop(self._widenings)
            entry = self._index.get(ticket_id)
            if entry is None or entry.tier >= tier:
                continue
            self._index.widen(ticket_id, tier)
            self._await_widening(entry.ticket, tier)
            found = self._try(entry.ticket, tier, now_ms)
            if found is not None:
                pairs.append(found)
        return pairs

    def next_widening_at(self) -> int | None:
        """When `widen` may have something to do, Unix ms."""
        return self._widenings[0][0] if self._widenings else None

    def claimed(self, pair_: Pair, lost: frozenset[Seat], after: int, now_ms: int) -> list[Pair]:
        """Takes note of a claim's answer: `lost` names the seats whose ticket was not waiting, none means a match.

        `after` is the number of the pool's last event before the claim. A survivor goes back to its place and is
        tried again. The pairs that come of it.
        """
        pairs = []
        for seat, ticket in (("a", pair_.a), ("b", pair_.b)):
            proposed = self._proposed.pop(ticket.ticket_id)
            event = proposed.heard
            if not lost:
                # What was heard of it before it was claimed, or is still to be heard, is over by that.
                self._claimed[ticket.ticket_id] = after
                self._claims.append((after, ticket.ticket_id))
                event = event if proposed.heard_number > after else None
            elif event is None and seat not in lost:
                event = Arrived(proposed.ticket, now_ms)
            found = self._apply(event, now_ms) if event is not None else None
            if found is not None:
                pairs.append(found)
        return pairs

    def paused_since(self, moment_ms: int) -> list[TicketId]:
        """The tickets that have been paused at least since then."""
        return [ticket_id for ticket_id, paused in self._paused.items() if paused.paused_at <= moment_ms]

    def on_nodes_but(self, living: set[NodeId]) -> dict[NodeId, list[TicketId]]:
        """The waiting tickets of nodes that are not among the living."""
        return {node: list(tickets) for node, tickets in self._nodes.items() if node not in living}

    def waiting(self) -> dict[Gender, int]:
        """How many tickets wait, by side; those being claimed included."""
        proposed = Counter(each.ticket.side for each in self._proposed.values())
        return {side: self._sides[side] + proposed[side] for side in Gender}

    def _arrive(self, ticket: Ticket, now_ms: int) -> Pair | None:
        self._take_out(ticket.ticket_id)
        tier = tier_after(self._policy, now_ms - ticket.queued_at)
        self._index.add(ticket, tier)
        self._sides[ticket.side] += 1
        self._nodes.setdefault(ticket.node_id, set()).add(ticket.ticket_id)
        self._await_widening(ticket, tier)
        return self._try(ticket, tier, now_ms)

    def _try(self, ticket: Ticket, tier: int, now_ms: int) -> Pair | None:
        found = pair(self._index, ticket, tier, now_ms, self._policy)
        if found is None:
            return None
        for side in (found.a, found.b):
            self._forget(side)
            self._proposed[side.ticket_id] = _Proposed(side)
        return found

    def _take_out(self, ticket_id: TicketId) -> None:
        self._paused.pop(ticket_id, None)
        ticket = self._index.remove(ticket_id)
        if ticket is not None:
            self._forget(ticket)

    def _forget(self, ticket: Ticket) -> None:
        self._sides[ticket.side] -= 1
        of_node = self._nodes[ticket.node_id]
        of_node.discard(ticket.ticket_id)
        if not of_node:
            del self._nodes[ticket.node_id]

    def _await_widening(self, ticket: Ticket, tier: int) -> None:
        steps = self._policy.widen_after_s
        if tier + 1 < len(steps):
            due = ticket.queued_at + round(steps[tier + 1] * 1000)
            heappush(self._widenings, (due, ticket.ticket_id, tier + 1))
