"""Whom an access token speaks for, since when, and until when."""

from dataclasses import replace

import jwt
import pytest

from accounts.keys import KeyRing
from accounts.model import Identity, Role
from accounts.tokens import Authenticator, TokenExpired, TokenIssuer, Unauthenticated
from base.policy import Gender
from tests.unit.accounts.handmade_tokens import (
    FAMILY_ID,
    NOW,
    PRIVATE_PEM,
    SCOPE,
    SECRET,
    USER,
    USER_ID,
    Claims,
    Header,
    signed,
)


def test_a_token_by_hand_is_believed(ring: KeyRing, header: Header, claims: Claims) -> None:
    """Tokens that are forged or unfit in the tests differ from this one in one point each."""
    identity = Authenticator(ring, SCOPE).verify(signed(header, claims), NOW)

    assert identity == Identity(USER_ID, Role.USER, Gender.FEMALE, FAMILY_ID, NOW, (NOW // 1000 + 900) * 1000)


@pytest.mark.parametrize("key", [SECRET, PRIVATE_PEM], ids=["HS256", "EdDSA"])
def test_an_issued_token_tells_who_when_and_until_when(key: str) -> None:
    """Issued and verified by keys of both kinds, to the millisecond."""
    ring = KeyRing.parse(key)
    issued = TokenIssuer(ring, SCOPE).issue(USER, FAMILY_ID, "one", NOW)

    identity = Authenticator(ring, SCOPE).verify(issued.token, NOW)

    assert identity == Identity(USER_ID, Role.USER, Gender.FEMALE, FAMILY_ID, NOW, issued.expires_at)
    assert issued.expires_at == (NOW // 1000 + 900) * 1000


@pytest.mark.parametrize("key", [SECRET, PRIVATE_PEM], ids=["HS256", "EdDSA"])
def test_every_token_of_a_key_is_checked(key: str) -> None:
    """The first, which makes the header known, and the next: whole it is believed, with any part changed it is not."""
    ring = KeyRing.parse(key)
    issuer, authenticator = TokenIssuer(ring, SCOPE), Authenticator(ring, SCOPE)

    for number in range(3):
        token = issuer.issue(USER, FAMILY_ID, str(number), NOW).token
        head, body, signature = token.split(".")
        other = issuer.issue(USER, FAMILY_ID, "another", NOW).token.split(".")
        assert authenticator.verify(token, NOW).user_id == USER_ID
        for forged in (
            f"{head}.{other[1]}.{signature}",
            f"{head}.{body}.{other[2]}",
            f"{head}.{body}.{signature}=",
            f"{head}.{body}.{signature}A",
            f"{head}.{body}.{signature[:-1]}",
            f"{head}.{body}.",
            f"{head}.{body}",
            head,
        ):
            with pytest.raises(Unauthenticated):
                authenticator.verify(forged, NOW)


def test_other_implementations_can_read_our_tokens(ring: KeyRing) -> None:
    """A plain JWT library accepts one, with all the checks it has."""
    issued = TokenIssuer(ring, SCOPE).issue(USER, FAMILY_ID, "one", NOW)

    claims = jwt.decode(
        issued.token,
        SECRET,
        algorithms=["HS256"],
        audience=SCOPE.audience,
        issuer=SCOPE.issuer,
        options={"require": ["exp", "iat", "jti", "sub"], "verify_exp": False, "verify_iat": False},
    )

    assert claims["sub"] == USER_ID
    assert jwt.get_unverified_header(issued.token)["typ"] == "at+jwt"


def test_a_token_is_good_until_the_moment_it_expires(ring: KeyRing) -> None:
    """Expired is told apart from invalid, since the client then refreshes."""
    issued = TokenIssuer(ring, SCOPE).issue(USER, FAMILY_ID, "one", NOW)
    authenticator = Authenticator(ring, SCOPE)

    assert authenticator.verify(issued.token, issued.expires_at - 1).user_id == USER_ID
    with pytest.raises(TokenExpired):
        authenticator.verify(issued.token, issued.expires_at)


def test_a_token_is_never_older_than_the_last_sign_out_everywhere(ring: KeyRing) -> None:
    """A node whose clock is behind must not issue tokens that are void from the start."""
    signed_out = replace(USER, revoked_before=NOW + 400)

    issued = TokenIssuer(ring, SCOPE).issue(signed_out, FAMILY_ID, "one", NOW)

    assert Authenticator(ring, SCOPE).verify(issued.token, NOW).issued_at_ms == NOW + 400


def test_a_clock_slightly_ahead_is_forgiven(ring: KeyRing, header: Header, claims: Claims) -> None:
    """Five seconds, for tokens of another node."""
    token = signed(header, {**claims, "iat": NOW / 1000 + 4.9})

    assert Authenticator(ring, SCOPE).verify(token, NOW).user_id == USER_ID


def test_a_token_of_a_key_that_left_the_ring_is_refused(header: Header, claims: Claims) -> None:
    """Rotation: the old key verifies while it is kept as a previous one, and not after."""
    token = signed(header, claims)
    new_secret = "another secret of more than thirty-two bytes"

    assert Authenticator(KeyRing.parse(new_secret, [SECRET]), SCOPE).verify(token, NOW)
    with pytest.raises(Unauthenticated):
        Authenticator(KeyRing.parse(new_secret), SCOPE).verify(token, NOW)
