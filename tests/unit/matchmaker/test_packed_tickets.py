"""Packed tickets: they answer what tickets answer, and share what they have alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.ids import UserId
from base.policy import Gender
from matchmaker.packed import PackedUsers, Packer, mark_of
from matchmaker.ticket import decode_ticket, encode_ticket
from tests.unit.matchmaker.people import ticket_of, wanting

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
    packer = Packer()
    plain = ticket_of("ann", exclusions=frozenset({UserId("bob"), UserId("eve")}))
    ticket, excluded = packer.pack(plain)

    assert ticket == plain
    assert ticket.exclusions is excluded
    assert packer.pack(ticket)[0] is ticket
    assert packer.pack(ticket)[1] is excluded


def test_what_tickets_have_alike_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read with sets of its own; what differs stays, and so does what nobody shares any more."""
    packer = Packer()
    about = {
        "languages": frozenset({"de", "en"}),
        "region": "eu",
        "wants": wanting(sides=frozenset({Gender.MALE}), languages=frozenset({"de"})),
    }
    plain = [decode_ticket(encode_ticket(ticket_of(name, **about))) for name in ("ann", "bob", "eve")]
    ann, bob = (packer.pack(each)[0] for each in plain[:2])
    monkeypatch.setattr("matchmaker.packed._ALIKE_AT_MOST", 5)
    eve, _ = packer.pack(plain[2])

    assert [ann, bob, eve] == plain
    assert plain[0].languages is not plain[1].languages
    assert ann.languages is bob.languages
    assert ann.region is bob.region
    assert ann.wants.sides is bob.wants.sides
    assert ann.wants.languages is bob.wants.languages
    assert ann.met is bob.met
    assert eve.languages is not bob.languages


def test_nobody_reads_names_from_a_packed_set() -> None:
    """It does not have them; whoever would store such a ticket is told."""
    with pytest.raises(TypeError):
        list(PackedUsers([UserId("ann")]))
