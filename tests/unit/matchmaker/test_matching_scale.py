"""The scale: it says of each row what the plain rules say of the ticket in it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from base.ids import TicketId, UserId
from base.policy import IntentPolicy
from matchmaker import scale as scales
from matchmaker import table as tables
from matchmaker.scale import Scale
from matchmaker.scoring import fit, rules_of, urgency
from matchmaker.table import Table
from matchmaker.ticket import Ticket
from tests.unit.matchmaker.people import ticket_of

NOW = 1_000_000
RULES = [rules_of(IntentPolicy()), rules_of(IntentPolicy(round_trip_ms={"eu": {"us": 90, "uk": 20}}))]
USERS = [UserId(f"user-{number}") for number in range(8)]

people = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(USERS),
        "age": st.integers(0, 150),
        "languages": st.frozensets(st.sampled_from(["de", "en", "tr"])),
        "region": st.none() | st.sampled_from(["eu", "uk", "us", "moon"]),
        "verified": st.booleans(),
        "met": st.frozensets(st.sampled_from(USERS), max_size=3),
        "ahead_ms": st.sampled_from([0, 5_000]),
        "leaves_at": st.sampled_from([0, NOW - 1, NOW + 9_000, NOW + 10_001]),
        "queued_at": st.integers(0, NOW + 100),
    }
)


def ticket(number: int, about: dict[str, Any]) -> Ticket:
    """One of many."""
    return ticket_of("", ticket_id=TicketId(f"{number:03}"), **about)


@given(
    asking=st.lists(people, min_size=1, max_size=3),
    waiting=st.lists(st.tuples(people, st.integers(0, 300)), min_size=1, max_size=12),
    gone=st.sets(st.integers(0, 11)),
    rules=st.sampled_from(RULES),
    few=st.booleans(),
)
def test_rows_weigh_what_their_tickets_do(asking, waiting, gone, rules, few) -> None:
    """Whatever stood in a row before, and however little the scale remembers."""
    table = Table()
    scale = Scale(rules, table)
    remembered = scales.KNOWN_AT_MOST, tables.KINDS_AT_MOST
    if few:
        scales.KNOWN_AT_MOST, tables.KINDS_AT_MOST = 1, 1
    try:
        for number, (about, passed) in enumerate(waiting):
            table.add(ticket(number, about), 0, passed)
        for number in sorted(gone):
            row = table.row_of(TicketId(f"{number:03}"))
            if row is not None:
                table.remove(row)
                again, passed = waiting[-1 - number]
                table.add(ticket(100 + number, again), 1, passed)
        rows = list(table)
        weighed = [scale.points(ticket(999, about), rows, NOW) for about in asking]
    finally:
        scales.KNOWN_AT_MOST, tables.KINDS_AT_MOST = remembered
    entries = [table.entry(row) for row in rows]

    assert weighed == [
        [
            fit(ticket(999, about), entry.ticket, rules) + urgency(entry.ticket, entry.passed, NOW)
            for entry in entries
        ]
        for about in asking
    ]
