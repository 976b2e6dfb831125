"""Texts that are no token, and signed tokens that say what none may say."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import KeyRing
from accounts.tokens import Authenticator, Unauthenticated
from tests.unit.accounts.handmade_tokens import NOW, SCOPE, SECRET, Claims, Header, part, signed


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", "https://other.example"),
        ("iss", ["https://minuet.example"]),
        ("aud", "another-app"),
        ("aud", ["minuet-app", "another-app"]),
        ("aud", ""),
        ("sub", "1"),
        ("sub", "0192F0C1-2345-7ABC-8DEF-0123456789AB"),
        ("sub", None),
        ("sid", "x"),
        ("role", "root"),
        ("role", ["admin"]),
        ("gender", "unknown"),
        ("iat", "1793016000"),
        ("iat", NOW // 1000 + 6),
        ("iat", 1e308),
        ("iat", True),
        ("exp", None),
        ("exp", "9999999999"),
        ("exp", [9_999_999_999]),
        ("nbf", NOW // 1000 + 60),
        ("nbf", "soon"),
        ("jti", 5),
    ],
)
def test_a_wrong_claim_is_refused(
    claim: str, value: object, header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """Issuer and audience must fit exactly, types are strict, and nothing comes from the future."""
    refused(signed(header, {**claims, claim: value}))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "sid", "role", "gender", "iat", "exp", "jti"])
def test_every_claim_is_needed(
    claim: str, header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """A token without an end would be good for ever."""
    del claims[claim]

    refused(signed(header, claims))


@pytest.mark.parametrize("special", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
@pytest.mark.parametrize("claim", ["iat", "exp"])
def test_numbers_that_are_none_are_refused(
    special: bytes, claim: str, header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """A signed token may still hold nonsense, e.g. from a tool of our own."""
    raw = (
        json.dumps({**claims, claim: 0})
        .encode()
        .replace(f'"{claim}": 0'.encode(), f'"{claim}": '.encode() + special)
    )

    refused(signed(header, raw))


def test_deep_nesting_is_refused_and_harms_nobody(
    header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """In the header, where nothing is signed yet, and in the payload."""
    deep = b'{"a":' * 700 + b"1" + b"}" * 700
    arrays = b"[" * 1_400

    for bomb in (deep, arrays):
        refused((part(bomb) + b"." + part(claims) + b".AAAA").decode())
        refused(signed(header, bomb))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        "\x00",
        "Bearer",
        "e30.e30.e30",
        "e30..",
        "bnVsbA.bnVsbA.",
        "W10.W10.AAAA",
    ],
)
def test_what_is_no_token_is_refused(token: str, refused: Callable[[str], None]) -> None:
    """Whatever stands after `Bearer`."""
    refused(token)


def test_a_token_that_is_too_long_is_not_even_looked_at(
    header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """Ours have about 400 characters."""
    refused(signed(header, {**claims, "padding": "x" * 2_000}))


@given(
    st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=é\x00", max_size=200)
)
def test_any_text_is_refused_with_nothing_else_raised(text: str) -> None:
    """Headers carry what attackers like."""
    with pytest.raises(Unauthenticated):
        Authenticator(KeyRing.parse(SECRET), SCOPE).verify(text, NOW)
