"""What may be said in a chat, and where a read mark stands."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from base.errors import ErrorCode, MinuetError
from chat.model import in_order
from chat.rules import MAX_BODY, BodyTooLong, UnfitBody, fit_body, read_mark


@pytest.mark.parametrize(
    "body",
    ["hello", "two\nlines", "a\ttab", "żółć 你好 שלום", "👩‍👩‍👧 family", "x" * MAX_BODY, "e\u0301"],
)
def test_a_text_is_kept_as_it_is(body: str) -> None:
    """In any script, with line feeds and tabs, up to the limit."""
    assert fit_body(body) == body


def test_white_space_at_the_ends_is_cut_off_and_does_not_count() -> None:
    """Before anything is measured; line ends of one system become those of all."""
    assert fit_body(" \n hi\r\nyou \t\u2003") == "hi\nyou"
    assert fit_body(" " * 5_000 + "x" * MAX_BODY) == "x" * MAX_BODY


@pytest.mark.parametrize(
    "body", ["", " ", "\n\t ", "\u3000\u2003", "\u0085", "\x1c\x1f", "\u200b", "\u2060 \n\ufeff"]
)
def test_nothing_to_say_is_refused(body: str) -> None:
    """Whatever kind of white space it is made of, or of characters without any width."""
    with pytest.raises(UnfitBody) as caught:
        fit_body(body)
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x80", "\x9f", "\r", "\v", "\ud800"])
def test_control_characters_are_refused(character: str) -> None:
    """They are no text; a terminal or a database might take them for orders. So are halves of surrogate pairs."""
    with pytest.raises(UnfitBody):
        fit_body(f"a{character}b")


def test_a_text_over_the_limit_has_an_error_of_its_own() -> None:
    """So that a client can tell its user what to do."""
    with pytest.raises(BodyTooLong) as caught:
        fit_body("x" * (MAX_BODY + 1))
    assert caught.value.code is ErrorCode.PAYLOAD_TOO_LARGE


def test_no_refusal_quotes_the_text() -> None:
    """Messages of errors go to logs."""
    for body in ("secret\x00", "secret" * 1_000):
        with pytest.raises(MinuetError) as caught:
            fit_body(body)
        assert "secret" not in caught.value.message


@given(st.text(max_size=2_200))
@example("\x85a")
def test_whatever_passes_is_text_and_passes_again(body: str) -> None:
    """What is kept is what a second attempt, or a client that shows it, would keep."""
    try:
        fit = fit_body(body)
    except (UnfitBody, BodyTooLong):
        return

    assert fit_body(fit) == fit
    assert 1 <= len(fit) <= MAX_BODY
    assert all(character in "\n\t" or unicodedata.category(character) != "Cc" for character in fit)
    fit.encode()


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 50))
def test_a_read_mark_only_rises_and_never_above_the_last_message(before: int, asked: int, last: int) -> None:
    """Whatever clients claim."""
    before = min(before, last)
    mark = read_mark(before, asked, last)

    assert before <= mark <= last
    assert mark in (before, asked, last)
    assert read_mark(mark, asked, last) == mark


def test_a_pair_is_the_same_from_both_sides() -> None:
    """The smaller id first, as the database compares them."""
    assert in_order("b", "a") == in_order("a", "b") == ("a", "b")
