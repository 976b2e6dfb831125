"""Pairing under any interleaving of what people do, what the worker hears of it, and when claims are answered.

The machine keeps the pool as Redis would: tickets with a state, events in order, claims decided by the tickets as
they are. The waiting room only hears events, late, and answers of claims, later.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from base.ids import NodeId, TicketId, UserId
from base.policy import Gender, IntentPolicy, Pairing
from matchmaker.bitsets import BitsetIndex
from matchmaker.matches import Seat
from matchmaker.pairing import Pair
from matchmaker.ports import Arrived, Departed, Paused, PoolEvent
from matchmaker.room import WHEEL_MS, WaitingRoom
from matchmaker.scoring import rules_of
from matchmaker.ticket import Ticket, Wants, wanted_sides
from tests.unit.matchmaker.people import ticket_of

POLICY = IntentPolicy(widen_after_s=(0, 10, 20, 40), widen_age_years=(0, 3, 6, 100))
RULES = rules_of(POLICY)
USERS = [UserId(f"user-{number}") for number in range(12)]
LANGUAGES = ["de", "en", "tr"]
REGIONS = ["eu", "us"]


people = st.fixed_dictionaries(
    {
        "age": st.integers(18, 40),
        "languages": st.frozensets(st.sampled_from(LANGUAGES)),
        "region": st.none() | st.sampled_from(REGIONS),
    }
)
wishes = st.fixed_dictionaries(
    {},
    optional={
        "age_min": st.integers(18, 40),
        "age_max": st.integers(18, 40),
        "wanted_languages": st.frozensets(st.sampled_from(LANGUAGES)),
        "wanted_regions": st.frozensets(st.sampled_from(REGIONS)),
    },
)


@dataclass
class Truth:
    """One ticket as the pool has it."""

    ticket: Ticket
    state: str = "w"
    peer: TicketId | None = None


def tier(ticket: Ticket, now_ms: int) -> int:
    return sum(1 for step in POLICY.widen_after_s[1:] if now_ms - ticket.queued_at >= step * 1000)


def takes(a: Ticket, b: Ticket, now_ms: int) -> bool:
    """Whether `a` may meet `b` by the words of the specification, written a second time."""
    reached = tier(a, now_ms)
    slack = POLICY.widen_age_years[reached]
    right_age = a.wants.age_min - slack <= b.age <= a.wants.age_max + slack
    right_region = reached >= 2 or not a.wants.regions or b.region in a.wants.regions
    understood = (
        reached >= 3 or not a.wants.languages or not b.languages or bool(a.wants.languages & b.languages)
    )
    allowed = b.side in a.wants.sides and b.user_id not in a.exclusions and a.user_id != b.user_id
    return allowed and right_age and right_region and understood


def fits(a: Ticket, b: Ticket, now_ms: int) -> bool:
    return takes(a, b, now_ms) and takes(b, a, now_ms)


class PairingMachine(RuleBasedStateMachine):
    """People come, leave, pause, return; the worker hears, pairs, claims."""

    tickets: Bundle[TicketId] = Bundle("tickets")

    @initialize(pairing=st.sampled_from(Pairing))
    def open(self, pairing: Pairing) -> None:
        self.pairing = pairing
        self.now_ms = 1_000_000
        self.pool: dict[TicketId, Truth] = {}
        self.events: deque[tuple[int, PoolEvent]] = deque()
        self.happened = 0
        self.room = WaitingRoom(POLICY, RULES, BitsetIndex(RULES.tiers))
        self.proposed: deque[Pair] = deque()
        self.answers: deque[tuple[Pair, frozenset[Seat], int]] = deque()
        self.numbers = 0

    # --- what people do ------------------------------------------------------------------------------------------

    @rule(target=tickets, user=st.sampled_from(USERS), side=st.sampled_from(Gender))
    def join(self, user: UserId, side: Gender) -> TicketId:
        """Somebody who asks for nothing in particular."""
        return self._enter(user, side, wanted_sides(side, (), self.pairing))

    @rule(
        target=tickets,
        user=st.sampled_from(USERS),
        side=st.sampled_from(Gender),
        asked=st.sets(st.sampled_from(Gender)),
        person=people,
        wishes=wishes,
        exclusions=st.frozensets(st.sampled_from(USERS), max_size=4),
        ahead_ms=st.sampled_from([0, 0, 7_000]),
        patience_s=st.sampled_from([0, 0, 15]),
    )
    def join_with_wishes(self, user, side, asked, person, wishes, exclusions, ahead_ms, patience_s):
        if self.pairing is Pairing.DATING and side is not Gender.OTHER:
            asked = asked - {side}
        sides = wanted_sides(side, asked, self.pairing)
        leaves_at = self.now_ms + patience_s * 1000 if patience_s else 0
        about = {"exclusions": exclusions, "ahead_ms": ahead_ms, "leaves_at": leaves_at}
        return self._enter(user, side, sides, **wishes, **about, **person)

    def _enter(self, user: UserId, side: Gender, sides: frozenset[Gender], **about: Any) -> TicketId:
        self.numbers += 1
        wants = Wants(
            sides,
            about.pop("age_min", 18),
            about.pop("age_max", 120),
            about.pop("wanted_languages", frozenset()),
            about.pop("wanted_regions", frozenset()),
        )
        ticket = ticket_of(
            user,
            ticket_id=TicketId(f"{self.numbers:04}"),
            node_id=NodeId(f"node-{self.numbers % 3}"),
            queued_at=self.now_ms,
            side=side,
            wants=wants,
            **about,
        )
        self.pool[ticket.ticket_id] = Truth(ticket)
        self._tell(Arrived(ticket, self.now_ms))
        return ticket.ticket_id

    @rule(ticket_id=tickets)
    def leave(self, ticket_id: TicketId) -> None:
        truth = self.pool.get(ticket_id)
        if truth is not None and truth.state in "wp":
            del self.pool[ticket_id]
            self._tell(Departed(ticket_id))

    @rule(ticket_id=tickets)
    def pause(self, ticket_id: TicketId) -> None:
        truth = self.pool.get(ticket_id)
        if truth is not None and truth.state == "w":
            truth.state = "p"
            self._tell(Paused(ticket_id, self.now_ms))

    @rule(ticket_id=tickets)
    def resume(self, ticket_id: TicketId) -> None:
        """Or verify: a waiting ticket may be put again, too. The place is the old one."""
        truth = self.pool.get(ticket_id)
        if truth is not None and truth.state in "wp":
            truth.state = "w"
            self._tell(Arrived(truth.ticket, self.now_ms))

    @rule(ticket_id=tickets, both=st.booleans())
    def fail_the_call(self, ticket_id: TicketId, both: bool) -> None:
        """The one goes back to the queue; the other too, or it is removed."""
        truth = self.pool.get(ticket_id)
        if truth is None or truth.state != "m" or truth.peer is None:
            return
        other = self.pool[truth.peer]
        if both:
            self._go_back(other, truth)
        else:
            del self.pool[other.ticket.ticket_id]
        self._go_back(truth, other)

    def _go_back(self, truth: Truth, peer: Truth) -> None:
        exclusions = truth.ticket.exclusions | {peer.ticket.user_id}
        truth.ticket = msgspec.structs.replace(truth.ticket, exclusions=exclusions)
        truth.state = "w"
        self._tell(Arrived(truth.ticket, self.now_ms))

    def _tell(self, event: PoolEvent) -> None:
        self.happened += 1
        self.events.append((self.happened, event))

    @rule(seconds=st.sampled_from([0.001, 1, 4, 9.999, 10, 25]))
    def let_time_pass(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    # --- what the worker does ------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def hear(self, count: int) -> None:
        for _ in range(min(count, len(self.events))):
            number, event = self.events.popleft()
            self._propose(self.room.hear(number, event, self.now_ms))

    @rule(limit=st.integers(1, 4))
    def widen(self, limit: int) -> None:
        for found in self.room.widen(self.now_ms, limit):
            self._propose(found)

    @rule()
    def let_go_of_the_impatient(self) -> None:
        """The worker removes them from the pool, and hears of it like of any other."""
        for ticket in self.room.departing(self.now_ms):
            assert 0 < ticket.leaves_at <= self.now_ms
            self.leave(ticket.ticket_id)

    @rule()
    def crash(self) -> None:
        """Another worker takes over: it knows the pool as it stands, and nothing of what was under way."""
        self.room = WaitingRoom(POLICY, RULES, BitsetIndex(RULES.tiers))
        for under_way in (self.events, self.proposed, self.answers):
            under_way.clear()
        for truth in sorted(self.pool.values(), key=lambda truth: truth.ticket.seniority):
            if truth.state == "w":
                self.room.learn(truth.ticket, self.now_ms)
            elif truth.state == "p":
                self.room.hear(self.happened, Paused(truth.ticket.ticket_id, self.now_ms), self.now_ms)
        self.room.learnt()

    @precondition(lambda self: self.proposed)
    @rule(seat=st.sampled_from(["a", "b"]), deed=st.sampled_from(["leave", "pause", "blink"]))
    def disturb_a_claim(self, seat: str, deed: str) -> None:
        """One of a pair under way goes, or is gone for a moment, before the claim."""
        ticket_id = getattr(self.proposed[0], seat).ticket_id
        if deed == "leave":
            self.leave(ticket_id)
        else:
            self.pause(ticket_id)
        if deed == "blink":
            self.resume(ticket_id)

    @precondition(lambda self: self.proposed)
    @rule()
    def claim(self) -> None:
        """The pool decides; the worker does not know yet."""
        found = self.proposed.popleft()
        truths = [self.pool.get(found.a.ticket_id), self.pool.get(found.b.ticket_id)]
        seats: tuple[Seat, Seat] = ("a", "b")
        lost = frozenset(
            s for s, truth in zip(seats, truths, strict=True) if truth is None or truth.state != "w"
        )
        if not lost:
            a, b = truths
            assert a is not None
            assert b is not None
            a.state = b.state = "m"
            a.peer, b.peer = b.ticket.ticket_id, a.ticket.ticket_id
            # As the pool has them: a ticket that came back knows whom it met in vain.
            assert fits(a.ticket, b.ticket, self.now_ms)
        self.answers.append((found, lost, self.happened))

    @precondition(lambda self: self.answers)
    @rule()
    def hear_answer(self) -> None:
        found, lost, after = self.answers.popleft()
        for again in self.room.claimed(found, lost, after, self.now_ms):
            self._propose(again)

    def _propose(self, found: Pair | None) -> None:
        if found is None:
            return
        assert found.a.seniority < found.b.seniority
        assert fits(found.a, found.b, self.now_ms)
        under_way = [*self.proposed, *(pair for pair, *_ in self.answers)]
        taken = {side.ticket_id for pair in under_way for side in (pair.a, pair.b)}
        assert not taken & {found.a.ticket_id, found.b.ticket_id}, "pairs under way are disjoint"
        self.proposed.append(found)

    # --- what holds ----------------------------------------------------------------------------------------------

    @rule()
    def nobody_waits_beside_somebody_who_fits(self) -> None:
        """Once all is heard and answered, no two waiting tickets are compatible, and none is forgotten."""
        while self.events or self.proposed or self.answers:
            self.hear(5)
            while self.proposed:
                self.claim()
            while self.answers:
                self.hear_answer()
        for _ in range(len(self.pool) * 5 + 1):
            self.widen(4)
            while self.proposed:
                self.claim()
            while self.answers:
                self.hear_answer()
        if self.events:
            return self.nobody_waits_beside_somebody_who_fits()
        waiting = [truth.ticket for truth in self.pool.values() if truth.state == "w"]

        for number, one in enumerate(waiting):
            for other in waiting[number + 1 :]:
                # What falls due is seen when the wheel turns.
                assert not fits(one, other, self.now_ms // WHEEL_MS * WHEEL_MS)
        return None

    @rule()
    def the_room_knows_the_pool(self) -> None:
        """Once all is heard, counts by side, pauses and nodes are those of the pool."""
        self.nobody_waits_beside_somebody_who_fits()
        waiting = [truth.ticket for truth in self.pool.values() if truth.state == "w"]
        paused = {truth.ticket.ticket_id for truth in self.pool.values() if truth.state == "p"}
        nodes = {ticket.node_id for ticket in waiting}

        assert self.room.waiting() == {side: sum(t.side is side for t in waiting) for side in Gender}
        assert set(self.room.paused_since(self.now_ms)) == paused
        assert set(self.room.on_nodes_but(set())) == nodes

    def teardown(self) -> None:
        """However a run ends, all of it holds then."""
        self.the_room_knows_the_pool()


TestPairing = PairingMachine.TestCase
TestPairing.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
