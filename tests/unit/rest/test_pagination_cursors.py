"""Cursors: opaque, checked, harmless."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.rules import InvalidField
from rest.pagination import decode_cursor, encode_cursor, page_meta

CALL_ID = "0192f0c1-2345-7abc-8def-0123456789ab"


@given(st.integers(0, 253_402_300_799_999), st.uuids())
def test_a_cursor_comes_back_as_it_went(ended_at: int, call_id: object) -> None:
    """Through a URL, unquoted."""
    cursor = encode_cursor((ended_at, str(call_id)))

    assert decode_cursor(cursor) == (ended_at, str(call_id))
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "key",
    [
        "not base64!",
        "",
        "é",
        encode_cursor((-1, CALL_ID)),
        encode_cursor((253_402_300_800_000, CALL_ID)),
        encode_cursor((1, "x")),
        encode_cursor((1, CALL_ID.upper())),
        encode_cursor((1, CALL_ID + "\n")),
        encode_cursor((1, "\x00")),
        encode_cursor(("1", CALL_ID)),  # type: ignore[arg-type]  # by somebody else
        encode_cursor((1.5, CALL_ID)),  # type: ignore[arg-type]  # by somebody else
        encode_cursor([1]),  # type: ignore[arg-type]  # by somebody else
        encode_cursor({"a": 1}),  # type: ignore[arg-type]  # by somebody else
        encode_cursor(None),  # type: ignore[arg-type]  # by somebody else
        "W1tbW1tbW1tbW1tb",
    ],
)
def test_what_is_no_cursor_of_ours_is_refused(key: str) -> None:
    """Before the database sees any of it."""
    with pytest.raises(InvalidField) as refusal:
        decode_cursor(key)

    assert refusal.value.field == "cursor"


@given(st.text(max_size=200))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(InvalidField):
        decode_cursor(text)


def test_the_last_page_has_no_next() -> None:
    """And says so in both ways."""
    assert page_meta(None) == {"next_cursor": None, "has_more": False}
    assert page_meta((1, CALL_ID))["has_more"] is True
