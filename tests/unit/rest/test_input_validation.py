"""From plain values to typed ones, with refusals that name the field."""

from datetime import date
from typing import Annotated

import msgspec
import pytest

from accounts.rules import InvalidField
from base.errors import ErrorCode
from rest.routes.auth import RegisterBody
from rest.validation import convert, plain_text, unknown_fields


class Inner(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=1)]


class Body(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(max_length=3)]
    inner: Inner | None = None
    items: list[int] = []


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"name": "long"}, "name"),
        ({"name": "a", "inner": {}}, "inner.size"),
        ({"name": "a", "inner": {"size": 0}}, "inner.size"),
        ({"name": "a", "inner": {"size": "1"}}, "inner.size"),
        ({"name": "a", "inner": {"size": True}}, "inner.size"),
        ({"name": "a", "items": [1, "x"]}, "items[1]"),
        ({"name": "a", "items": {}}, "items"),
    ],
)
def test_a_refusal_names_the_field(value: dict[str, object], field: str) -> None:
    """By its path; types are strict, a number in quotes is none."""
    with pytest.raises(InvalidField) as refusal:
        convert(value, Body)

    assert refusal.value.field == field
    assert refusal.value.code is ErrorCode.INVALID_MESSAGE
    assert field in refusal.value.message


def test_a_query_may_write_numbers_as_text() -> None:
    """It has nothing but text."""
    assert convert({"size": "3"}, Inner, from_text=True) == Inner(3)
    with pytest.raises(InvalidField):
        convert({"size": "3x"}, Inner, from_text=True)


@pytest.mark.parametrize(
    "born", ["1990-5-17", "17.05.1990", "1990-13-01", "1990-02-30", "1990-05-17T00:00:00", 1990, ""]
)
def test_a_birth_date_is_a_date(born: object) -> None:
    """ISO 8601, and one that exists."""
    body = {"email": "a", "password": "b", "first_name": "c", "gender": "female", "birth_date": born}

    with pytest.raises(InvalidField) as refusal:
        convert(body, RegisterBody)
    assert refusal.value.field == "birth_date"
    assert convert({**body, "birth_date": "1990-05-17"}, RegisterBody).birth_date == date(1990, 5, 17)


def test_names_that_no_schema_has_are_found() -> None:
    """Ignored or refused: that is a setting."""
    assert unknown_fields({"name": 1, "nmae": 2, "": 3}, Body) == ["nmae", ""]


@pytest.mark.parametrize(
    ("entered", "stored"),
    [
        (None, None),
        ("", None),
        (" \n\t ", None),
        (" a\r\nb\tc ", "a\nb\tc"),
        ("e\u0301", "\u00e9"),
        ("x" * 10, "x" * 10),
        ("\u202e\U0001f600", "\u202e\U0001f600"),
    ],
)
def test_free_text_is_stored_in_one_form(entered: str | None, stored: str | None) -> None:
    """Composed, with plain line ends, nothing around it; nothing at all where nothing is left."""
    assert plain_text("note", entered, 10) == stored


@pytest.mark.parametrize("entered", ["a\x00", "\x1b[2J", "a\rb", "\x7f", "a\x85b", "x" * 11, "\u0958" * 6])
def test_free_text_that_does_not_fit_is_refused(entered: str) -> None:
    """Control characters, and what is too long once it is composed."""
    with pytest.raises(InvalidField) as refusal:
        plain_text("note", entered, 10)

    assert refusal.value.field == "note"
