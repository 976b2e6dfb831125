"""Sets of users, packed: they answer what the sets answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.ids import UserId
from matchmaker.packed import PackedUsers, mark_of, packed
from tests.unit.matchmaker.people import ticket_of

users = st.frozensets(st.text(max_size=8).map(UserId), max_size=40)


@given(excluded=users, others=users)
def test_who_is_in_a_packed_set_is_who_was_put_into_it(
    excluded: frozenset[UserId], others: frozenset[UserId]
) -> None:
    """And the marks let nobody through who is."""
    small = PackedUsers(excluded)

    assert {user_id for user_id in excluded | others if user_id in small} == excluded
    assert all(mark_of(user_id) in small.marks for user_id in excluded)
    assert small.isdisjoint(others) is excluded.isdisjoint(others)
    assert (small == others) is (excluded == others)
    assert small == excluded
    assert small == PackedUsers(sorted(excluded))
    assert (small == PackedUsers(others)) is (excluded == others)


def test_a_ticket_is_packed_once() -> None:
    """What is packed already stays as it is, so that a ticket may wait, be claimed in vain, and wait again."""
    ticket, excluded = packed(ticket_of("ann", exclusions=frozenset({UserId("bob"), UserId("eve")})))

    assert ticket.exclusions is excluded
    assert packed(ticket) == (ticket, excluded)
    assert packed(ticket)[1] is excluded
    assert ticket == ticket_of("ann", exclusions=frozenset({UserId("bob"), UserId("eve")}))


def test_nobody_reads_names_from_a_packed_set() -> None:
    """It does not have them; whoever would store such a ticket is told."""
    with pytest.raises(TypeError):
        list(PackedUsers([UserId("ann")]))
