"""What a person's preferences mean under an intent's pairing rule."""

import msgspec
import pytest

from base.errors import ErrorCode, MinuetError
from base.policy import Gender, Pairing
from matchmaker.ticket import Preferences, decode_ticket, encode_ticket, wanted_sides, wants_of
from tests.unit.matchmaker.people import Somebody, ticket_of, wanting

F, M, X = Gender.FEMALE, Gender.MALE, Gender.OTHER


@pytest.mark.parametrize(
    ("side", "asked", "wanted"),
    [
        (F, [], {M}),
        (M, [], {F}),
        (F, [M], {M}),
        (F, [M, X], {M, X}),
        (M, [X], {X}),
        (F, [F, M], {M}),
        (X, [], {F, M, X}),
        (X, [F], {F}),
        (X, [X], {X}),
    ],
)
def test_in_dating_women_and_men_meet_each_other_and_others_by_wish(
    side: Gender, asked: list[Gender], wanted: set[Gender]
) -> None:
    """`other` is met only where it is asked for, and says itself whom it meets."""
    assert wanted_sides(side, asked, Pairing.DATING) == wanted


@pytest.mark.parametrize("side", [F, M])
def test_in_dating_asking_for_the_own_side_only_is_refused(side: Gender) -> None:
    """Such a ticket would wait for ever; the client is told what is wrong with it."""
    with pytest.raises(MinuetError) as refused:
        wanted_sides(side, [side], Pairing.DATING)

    assert refused.value.code is ErrorCode.INVALID_MESSAGE


@pytest.mark.parametrize("side", list(Gender))
def test_among_friends_anyone_meets_anyone_unless_they_say_otherwise(side: Gender) -> None:
    """Without a wish all sides are wanted; a wish is followed, whatever the own side is."""
    assert wanted_sides(side, [], Pairing.ANYONE) == {F, M, X}
    assert wanted_sides(side, [side], Pairing.ANYONE) == {side}


def test_two_others_who_did_not_ask_for_each_other_do_not_meet() -> None:
    """What one asks for is not enough: the other must have asked as well."""
    a = wanted_sides(X, [F], Pairing.DATING)
    b = wanted_sides(X, [X], Pairing.DATING)

    assert X not in a
    assert X in b


def test_who_asks_for_no_language_wishes_for_one_of_their_own() -> None:
    """A wish that is spelled out replaces the person's own languages."""
    person = Somebody(languages=("de", "tr"))

    assert wants_of(person, Preferences(), Pairing.ANYONE).languages == {"de", "tr"}
    assert wants_of(person, Preferences(languages=("en",)), Pairing.ANYONE).languages == {"en"}


@pytest.mark.parametrize(
    "data",
    [
        {"age_min": 17},
        {"age_max": 121},
        {"age_min": 40, "age_max": 30},
        {"sides": ["male"] * 4},
        {"sides": ["anything"]},
        {"languages": ["not a language"]},
        {"languages": ["en"] * 17},
        {"regions": ["eu west"]},
        {"regions": ["x" * 33]},
        {"age_min": "18"},
    ],
)
def test_preferences_out_of_bounds_are_refused(data: dict[str, object]) -> None:
    """Bounds hold where the message is decoded, so that nothing behind it has to check again."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, Preferences)


def test_preferences_have_defaults_for_all_they_hold() -> None:
    """A client that asks for nothing sends nothing."""
    assert msgspec.convert({}, Preferences) == Preferences(age_min=18, age_max=120)


def test_a_ticket_is_stored_and_read_back() -> None:
    """All of it survives, sets included; equal tickets are stored alike."""
    ticket = ticket_of(
        "ann", languages=frozenset({"en", "de", "fr"}), wants=wanting(regions=frozenset({"eu", "us"}))
    )
    same = ticket_of(
        "ann", languages=frozenset({"fr", "en", "de"}), wants=wanting(regions=frozenset({"us", "eu"}))
    )

    assert decode_ticket(encode_ticket(ticket)) == ticket
    assert encode_ticket(ticket) == encode_ticket(same)
