"""The waiting room: what the owner of a pool knows of it.

Decides what each event of the pool, each passing of time and each answered claim means, and answers with the pairs
to claim. Tickets that are being claimed are in neither index nor pause, so that no ticket is in two pairs; what
happens to them meanwhile is remembered until the claim is answered. Events and claims reach the room on two ways:
the numbers of the pool's events tell which came first.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from base.ids import NodeId, TicketId
from base.policy import Gender, IntentPolicy
from base.wheel import TimerWheel
from matchmaker.index import Index
from matchmaker.matches import Seat
from matchmaker.pairing import Pair, Pairing
from matchmaker.pools import Arrived, Departed, Paused, PoolEvent, ticket_of
from matchmaker.scoring import Rule, Rules, rejects, tier_after
from matchmaker.table import Entry
from matchmaker.ticket import Ticket

WHEEL_MS = 50
"""Wishes widen, and people give up, so much late at most."""

_SAMPLE_EVERY = 32
_SAMPLED = 8


@dataclass(slots=True)
class _Proposed:
    """A ticket in a pair whose claim is not answered yet, and the last that was heard of it meanwhile."""

    ticket: Ticket
    passed: int
    heard: PoolEvent | None = None
    heard_number: int = 0


class _Alarms:
    """One alarm a ticket. What is due is checked then: tickets come and go without the wheel being searched.

    However often a ticket comes and goes, it has one place on the wheel, unless its alarm is set to ever earlier times.
    """

    def __init__(self) -> None:
        self._wheel: TimerWheel[TicketId] = TimerWheel(WHEEL_MS, 0)
        self._at: dict[TicketId, int] = {}

    def set(self, ticket_id: TicketId, at_ms: int) -> None:
        """Lets the ticket be looked at when it is due; an earlier alarm stays, and may be followed by this one."""
        if at_ms < self._at.get(ticket_id, at_ms + 1):
            self._at[ticket_id] = at_ms
            self._wheel.add(ticket_id, at_ms)

    def due(self, now_ms: int) -> list[TicketId]:
        """Whose alarms went off since the last time."""
        due = []
        for ticket_id in self._wheel.turn(now_ms):
            # One without is the later of two alarms, the earlier of which has gone off.
            if self._at.get(ticket_id, now_ms + 1) <= now_ms:
                del self._at[ticket_id]
                due.append(ticket_id)
        return due


class WaitingRoom:
    """Tickets of one pool as far as its events tell."""

    def __init__(self, policy: IntentPolicy, rules: Rules, index: Index) -> None:
        self._policy = policy
        self._rules = rules
        self._index = index
        self._table = index.table
        self._pairing = Pairing(index, rules)
        self._paused: dict[TicketId, Paused] = {}
        self._proposed: dict[TicketId, _Proposed] = {}
        self._nodes: dict[NodeId, set[TicketId]] = {}
        self._sides: Counter[Gender] = Counter()
        # By claimed ticket, the last event before its claim; forgotten when the events have got there.
        self._claimed: dict[TicketId, int] = {}
        self._claims: deque[tuple[int, TicketId]] = deque()
        self._widenings = _Alarms()
        self._due: deque[TicketId] = deque()
        self._learnt: list[TicketId] = []
        self._untried: deque[TicketId] = deque()
        self._leavings = _Alarms()
        self._tries = 0
        self._rejections: Counter[Rule] = Counter()

    def hear(self, number: int, event: PoolEvent, now_ms: int) -> Pair | None:
        """Takes note of the pool's event `number`; the pair that it makes possible, if any."""
        ticket_id = ticket_of(event)
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

    def _apply(self, event: PoolEvent, now_ms: int, passed: int = 0) -> Pair | None:
        match event:
            case Arrived(ticket):
                return self._arrive(ticket, now_ms, passed)
            case Paused():
                self._take_out(event.ticket_id)
                self._paused[event.ticket_id] = event
            case Departed(ticket_id):
                self._take_out(ticket_id)
        return None

    def packed(self, ticket: Ticket) -> Ticket:
        """A ticket as it is kept, many times smaller than as it was read."""
        return self._table.packer.pack(ticket)[0]

    def learn(self, ticket: Ticket, now_ms: int) -> None:
        """Lets a ticket be found that waited before this room was there; not tried before all of them are `learnt`."""
        entry = Entry(ticket, tier_after(self._policy, now_ms - ticket.queued_at))
        self._count(ticket)
        self._let_in(entry)
        self._learnt.append(ticket.ticket_id)

    def try_again(self, ticket_ids: Iterable[TicketId]) -> None:
        """Lets `widen` try those of them that wait: more is known than when they came."""
        self._untried += ticket_ids

    def learnt(self) -> None:
        """All are known: `widen` tries them by and by, in the order in which they were learnt."""
        self._untried += self._learnt
        self._learnt = []

    def widen(self, now_ms: int, limit: int) -> list[Pair]:
        """Relaxes those whose time has come, and tries each of them once; the pairs found.

        And those who have not been tried yet; at most `limit` of both.
        """
        self._due += self._widenings.due(now_ms)
        pairs: list[Pair] = []
        while limit and self._due:
            limit -= 1
            ticket_id = self._due.popleft()
            entry = self._table.get(ticket_id)
            if entry is None:
                continue
            # Where it is late, by more than one step: else it would take a turn of the wheel for each.
            tier = tier_after(self._policy, now_ms - entry.ticket.queued_at)
            self._await_widening(entry.ticket, max(tier, entry.tier))
            if entry.tier >= tier:
                continue
            self._index.widen(ticket_id, tier)
            entry.tier = tier
            found = self._try(entry, now_ms)
            if found is not None:
                pairs.append(found)
        while limit and self._untried:
            limit -= 1
            entry = self._table.get(self._untried.popleft())
            found = None if entry is None else self._try(entry, now_ms)
            if found is not None:
                pairs.append(found)
        return pairs

    def is_behind(self) -> bool:
        """Whether `widen` left something that is due."""
        return bool(self._due or self._untried)

    def departing(self, now_ms: int) -> list[Ticket]:
        """The waiting tickets whose people meant to wait no longer than until now; told once."""
        departing = []
        for ticket_id in self._leavings.due(now_ms):
            entry = self._table.get(ticket_id)
            if entry is None or not entry.ticket.leaves_at:
                continue
            if entry.ticket.leaves_at <= now_ms:
                departing.append(entry.ticket)
            else:
                self._leavings.set(ticket_id, entry.ticket.leaves_at)
        return departing

    def rejections(self) -> Counter[Rule]:
        """Of a sample of those who were tried, by which rule the longest-waiting were no partners; told once."""
        told, self._rejections = self._rejections, Counter()
        return told

    def marks(self) -> dict[Gender, list[tuple[int, int]]]:
        """Since when those at certain places of each side wait."""
        return {side: self._index.marks(side) for side in Gender}

    def claimed(self, pair_: Pair, lost: frozenset[Seat], after: int, now_ms: int) -> list[Pair]:
        """Takes note of a claim's answer: `lost` names the seats whose ticket was not waiting, none means a match.

        `after` is the number of the pool's last event before the claim. A survivor goes back to its place and is
        tried again. The pairs that come of it.
        """
        pairs = []
        seats: tuple[tuple[Seat, Ticket], ...] = (("a", pair_.a), ("b", pair_.b))
        for seat, ticket in seats:
            proposed = self._proposed.pop(ticket.ticket_id)
            event = proposed.heard
            if not lost:
                # What was heard of it before it was claimed, or is still to be heard, is over by that.
                self._claimed[ticket.ticket_id] = after
                self._claims.append((after, ticket.ticket_id))
                event = event if proposed.heard_number > after else None
            elif event is None and seat not in lost:
                event = Arrived(proposed.ticket, now_ms)
            # Credit is for who was passed over and still waits, not for who had a match.
            found = self._apply(event, now_ms, proposed.passed if lost else 0) if event is not None else None
            if found is not None:
                pairs.append(found)
        return pairs

    def paused_since(self, moment_ms: int) -> list[TicketId]:
        """The tickets that have been paused at least since then."""
        return [ticket_id for ticket_id, paused in self._paused.items() if paused.paused_at <= moment_ms]

    def on_nodes_but(self, living: set[NodeId]) -> dict[NodeId, list[TicketId]]:
        """The waiting tickets of nodes that are not among the living."""
        return {node: list(tickets) for node, tickets in self._nodes.items() if node not in living}

    def tickets(self) -> list[TicketId]:
        """All that wait or are paused, those being claimed left out."""
        return [*self._table.ids(), *self._paused]

    def node_of(self, ticket_id: TicketId) -> NodeId | None:
        """The node of a ticket that waits."""
        entry = self._table.get(ticket_id)
        return entry.ticket.node_id if entry is not None else None

    def waiting(self) -> dict[Gender, int]:
        """How many tickets wait, by side; those being claimed included."""
        proposed = Counter(each.ticket.side for each in self._proposed.values())
        return {side: self._sides[side] + proposed[side] for side in Gender}

    def _arrive(self, ticket: Ticket, now_ms: int, passed: int) -> Pair | None:
        passed = max(passed, self._take_out(ticket.ticket_id))
        entry = Entry(ticket, tier_after(self._policy, now_ms - ticket.queued_at), passed)
        self._count(ticket)
        # Tried before it is indexed: most of those who find somebody find them now.
        found = self._try(entry, now_ms)
        if found is None:
            self._let_in(entry)
        return found

    def _let_in(self, entry: Entry) -> None:
        ticket = entry.ticket
        self._index.add(ticket, entry.tier, entry.passed)
        self._await_widening(ticket, entry.tier)
        if ticket.leaves_at:
            self._leavings.set(ticket.ticket_id, ticket.leaves_at)

    def _try(self, entry: Entry, now_ms: int) -> Pair | None:
        self._tries += 1
        if self._tries % _SAMPLE_EVERY == 0:
            self._sample(entry)
        found = self._pairing.pair(entry, now_ms)
        if found is None:
            return None
        for side, passed in zip((found.a, found.b), found.passed, strict=True):
            self._forget(side)
            self._proposed[side.ticket_id] = _Proposed(side, passed)
        return found

    def _sample(self, entry: Entry) -> None:
        ticket, tiers = entry.ticket, self._rules.tiers
        for row in self._index.first(ticket, _SAMPLED):
            other = self._table.entry(row)
            rule = rejects(ticket, other.ticket, tiers[entry.tier]) or rejects(
                other.ticket, ticket, tiers[other.tier]
            )
            if rule is not None:
                self._rejections[rule] += 1

    def _take_out(self, ticket_id: TicketId) -> int:
        """Takes a ticket out wherever it is; how often it was passed over."""
        self._paused.pop(ticket_id, None)
        entry = self._index.remove(ticket_id)
        if entry is None:
            return 0
        self._forget(entry.ticket)
        return entry.passed

    def _count(self, ticket: Ticket) -> None:
        self._sides[ticket.side] += 1
        self._nodes.setdefault(ticket.node_id, set()).add(ticket.ticket_id)

    def _forget(self, ticket: Ticket) -> None:
        self._sides[ticket.side] -= 1
        of_node = self._nodes[ticket.node_id]
        of_node.discard(ticket.ticket_id)
        if not of_node:
            del self._nodes[ticket.node_id]

    def _await_widening(self, ticket: Ticket, tier: int) -> None:
        steps = self._policy.widen_after_s
        if tier + 1 < len(steps):
            self._widenings.set(ticket.ticket_id, ticket.queued_at + round(steps[tier + 1] * 1000))
