"""The index by bitsets: it answers what a plain scan answers, whatever happened before.

Small pages, so that a handful of tickets splits, fills, respaces and merges them.
"""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from base.ids import TicketId, UserId
from base.policy import Gender, IntentPolicy
from loadtests.scan_index import ScanIndex
from matchmaker import bitsets, page
from matchmaker.ages import cover, path
from matchmaker.bitsets import BitsetIndex
from matchmaker.index import Index
from matchmaker.scoring import Relaxation, rules_of
from matchmaker.ticket import Ticket, Wants
from tests.unit.matchmaker.people import ticket_of

POLICY = IntentPolicy(
    widen_after_s=(0, 10, 20, 40),
    widen_age_years=(0, 3, 6, 100),
    round_trip_ms={"eu": {"us": 90, "uk": 20}, "us": {"asia": 180}},
)
# The third tier is narrower than the second, which a policy may be: bits have to go as well as come.
ODD = (*rules_of(POLICY).tiers, Relaxation(1, any_region=False, any_language=True))

LANGUAGES = ["de", "en", "tr"]
REGIONS = ["eu", "us", "uk", "asia", "moon"]
USERS = [UserId(f"user-{number}") for number in range(30)]

ages = st.integers(18, 120)
ranges = st.tuples(ages, ages).map(sorted)
tickets = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(USERS),
        "side": st.sampled_from(Gender),
        "age": ages,
        "languages": st.frozensets(st.sampled_from(LANGUAGES)),
        "region": st.none() | st.sampled_from(REGIONS),
        "exclusions": st.frozensets(st.sampled_from(USERS), max_size=5),
        "ahead_ms": st.sampled_from([0, 0, 0, 30]),
        "wants": st.builds(
            Wants,
            sides=st.frozensets(st.sampled_from(Gender), min_size=1),
            age_min=ages,
            age_max=ages,
            languages=st.frozensets(st.sampled_from(LANGUAGES)),
            regions=st.frozensets(st.sampled_from(REGIONS), max_size=2),
        ),
    }
)


def ranks_in(index: Index, rows: list[int]) -> list[tuple[int, str]]:
    """The ranks of some rows."""
    return [index.table.tickets[row].rank for row in rows]


def ranks_of(tickets: list[Ticket]) -> list[tuple[int, str]]:
    return [ticket.rank for ticket in tickets]


class IndexMachine(RuleBasedStateMachine):
    """Both indexes do the same; they must go on answering the same."""

    waiting: Bundle[Ticket] = Bundle("waiting")
    gone: Bundle[Ticket] = Bundle("gone")

    @initialize(slots=st.sampled_from([4, 16, page.SLOTS]))
    def open(self, slots: int) -> None:
        self.patch = pytest.MonkeyPatch()
        for module in (page, bitsets):
            self.patch.setattr(module, "SLOTS", slots)
        self.patch.setattr(bitsets, "_SPARSE", max(2, slots // 8))
        self.patch.setattr(bitsets, "_MERGED", max(2, slots // 2))
        self.patch.setattr(bitsets, "_ROOMY", slots // 4)
        self.index, self.model = BitsetIndex(ODD), ScanIndex(ODD)
        self.numbers = 0
        self.now = 1_000

    @rule(
        target=waiting,
        about=tickets,
        tier=st.integers(0, 4),
        later=st.integers(0, 3),
        back=st.integers(0, 40),
    )
    def add(self, about, tier, later, back) -> Ticket:
        """Mostly in order, at times of long ago."""
        self.numbers += 1
        self.now += later
        return self._add(
            ticket_of(
                "",
                ticket_id=TicketId(f"{self.numbers:05}"),
                queued_at=self.now - (back if back > 30 else 0) * 7,
                **about,
            ),
            tier,
        )

    @rule(target=waiting, ticket=consumes(gone), tier=st.integers(0, 4))
    def come_back(self, ticket: Ticket, tier: int) -> Ticket:
        """At the old place, whatever became of the page."""
        return self._add(ticket, tier)

    def _add(self, ticket: Ticket, tier: int) -> Ticket:
        self.index.add(ticket, tier)
        self.model.add(ticket, tier)
        return ticket

    @rule(target=gone, ticket=consumes(waiting))
    def remove(self, ticket: Ticket) -> Ticket:
        taken, plain = self.index.remove(ticket.ticket_id), self.model.remove(ticket.ticket_id)
        assert taken is not None
        assert plain is not None
        assert taken.ticket.ticket_id == ticket.ticket_id
        assert (taken.tier, taken.passed) == (plain.tier, plain.passed)
        assert self.index.remove(ticket.ticket_id) is None
        return ticket

    @rule(ticket=waiting, tier=st.integers(0, 4))
    def widen(self, ticket: Ticket, tier: int) -> None:
        self.index.widen(ticket.ticket_id, tier)
        self.model.widen(ticket.ticket_id, tier)

    @rule(
        about=tickets,
        tier=st.integers(0, 4),
        limit=st.sampled_from([1, 3, 16, 1_000]),
        regions=st.none() | st.frozensets(st.sampled_from(REGIONS)),
    )
    def ask(self, about, tier, limit, regions) -> None:
        """A stranger's candidates are the same, in the same order."""
        self._compare(ticket_of("", ticket_id=TicketId("asking"), **about), tier, limit, regions)

    @rule(ticket=waiting, tier=st.integers(0, 4), limit=st.sampled_from([2, 16]))
    def ask_from_within(self, ticket: Ticket, tier: int, limit: int) -> None:
        self._compare(ticket, tier, limit, None)

    def _compare(self, ticket, tier, limit, regions) -> None:
        mine = self.index.candidates(ticket, tier, limit, regions)
        plain = self.model.candidates(ticket, tier, limit, regions)

        assert ranks_in(self.index, mine) == ranks_in(self.model, plain)
        assert sorted(ranks_in(self.index, self.index.first(ticket, limit))) == sorted(
            ranks_in(self.model, self.model.first(ticket, limit))
        )

    @invariant()
    def both_hold_the_same(self) -> None:
        if not hasattr(self, "index"):
            return
        mine, plain = self.index.table, self.model.table
        tiers = {mine.tickets[row].ticket_id: mine.tiers[row] for row in mine}
        assert tiers == {plain.tickets[row].ticket_id: plain.tiers[row] for row in plain}
        assert len(mine) == len(plain)
        assert self.index.pages() <= 2 * len(plain) + 12

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@given(
    crowd=st.lists(tickets, max_size=40),
    asking=tickets,
    tier=st.integers(0, 4),
    limit=st.sampled_from([1, 3, 16]),
)
def test_whoever_asks_for_what_is_rare_has_fewer_to_choose_from_and_never_nobody(
    crowd, asking, tier, limit
) -> None:
    """Where few of those whose turn it is fit, no more are looked for; the first who fits is found however far behind."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (page, bitsets):
            patch.setattr(module, "SLOTS", 4)
        patch.setattr(bitsets, "ENOUGH", 8)
        index, model = BitsetIndex(ODD), ScanIndex(ODD)
        for number, about in enumerate(crowd):
            ticket = ticket_of("", ticket_id=TicketId(f"{number:05}"), queued_at=number, **about)
            index.add(ticket, number % 5)
            model.add(ticket, number % 5)
        ticket = ticket_of("", ticket_id=TicketId("asking"), **asking)
        found = ranks_in(index, index.candidates(ticket, tier, limit))
        fitting = ranks_in(model, model.candidates(ticket, tier, len(crowd)))
    among_the_first = [rank for rank in fitting if rank[0] < 8]

    assert found[:1] == fitting[:1]
    assert found == [rank for rank in fitting if rank in set(found)]
    assert len(found) >= min(limit, len(among_the_first))


@given(ages=ranges, age=st.integers(0, 127))
def test_an_age_is_in_a_range_exactly_when_they_share_a_node(ages: list[int], age: int) -> None:
    """And they share one at most."""
    youngest, oldest = ages
    shared = set(cover(youngest, oldest)) & set(path(age))

    assert len(shared) == (1 if youngest <= age <= oldest else 0)


def test_all_years_are_one_node() -> None:
    """Who asks for no age costs the least."""
    assert cover(0, 127) == (0,)
    assert cover(50, 40) == ()


def test_who_comes_back_to_a_full_page_is_where_they_were() -> None:
    """More tickets than two pages hold, with one of the oldest put back between its neighbours."""
    index = BitsetIndex(ODD)
    crowd = [ticket_of(f"user-{number}", queued_at=number) for number in range(5_000)]
    for ticket in crowd:
        if ticket is not crowd[1_000]:
            index.add(ticket, 0)
    index.add(crowd[1_000], 0)
    asking = ticket_of("somebody", ticket_id=TicketId("asking"))

    assert ranks_in(index, index.candidates(asking, 0, 5_000)) == ranks_of(crowd)


def test_pages_that_became_sparse_are_merged() -> None:
    """What is left of a large crowd does not keep its pages."""
    index = BitsetIndex(ODD)
    crowd = [ticket_of(f"user-{number}", queued_at=number) for number in range(20_000)]
    for ticket in crowd:
        index.add(ticket, 0)
    for number, ticket in enumerate(crowd):
        if number % 40:
            index.remove(ticket.ticket_id)
    asking = ticket_of("somebody", ticket_id=TicketId("asking"))

    assert index.pages() <= 3
    assert ranks_in(index, index.candidates(asking, 0, 1_000)) == ranks_of(crowd[::40])


def test_a_ticket_is_in_the_index_once() -> None:
    """Whoever adds it twice has lost count."""
    index = BitsetIndex(ODD)
    index.add(ticket_of("ann"), 0)

    with pytest.raises(ValueError, match="ticket-ann"):
        index.add(ticket_of("ann"), 0)


def test_a_page_without_room_is_split_where_somebody_comes_between() -> None:
    """Many come back to the same place of full pages; all of them find theirs."""
    index = BitsetIndex(ODD)
    crowd = [ticket_of(f"user-{number}", queued_at=number * 100) for number in range(3 * page.SLOTS)]
    for ticket in crowd:
        index.add(ticket, 0)
    before = index.pages()
    between = [
        ticket_of(f"late-{number}", queued_at=where * 100 + 1 + (number * 37) % 97)
        for where in (0, 1_000, page.SLOTS - 1, page.SLOTS, 5_000)
        for number in range(where % 7, where % 7 + 20)
    ]
    for number, ticket in enumerate(between):
        index.add(msgspec.structs.replace(ticket, ticket_id=TicketId(f"late-{number}")), 0)
    asking = ticket_of("somebody", ticket_id=TicketId("asking"))
    ranks = ranks_in(index, index.candidates(asking, 0, 20_000))

    assert len(ranks) == len(crowd) + len(between)
    assert ranks == sorted(ranks)
    assert before < index.pages() <= before + 4 * 5

    # Whoever was moved to another page is found there, too.
    for number, rank in enumerate(ranks):
        if number % 3:
            assert index.remove(TicketId(rank[1])) is not None
    left = ranks_in(index, index.candidates(asking, 0, 20_000))
    assert left == ranks[::3]
