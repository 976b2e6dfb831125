"""A good access token in its parts, for tests that spoil one of them."""

from collections.abc import Callable

import pytest

from accounts.keys import KeyRing
from accounts.tokens import Authenticator, Unauthenticated
from tests.unit.accounts.handmade_tokens import (
    FAMILY_ID,
    NOW,
    PRIVATE_PEM,
    SCOPE,
    SECRET,
    USER_ID,
    Claims,
    Header,
    signed,
)


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.parse(SECRET, [PRIVATE_PEM])


@pytest.fixture
def header(ring: KeyRing) -> Header:
    return {"alg": "HS256", "typ": "at+jwt", "kid": ring.current.kid}


@pytest.fixture
def claims() -> Claims:
    return {
        "iss": SCOPE.issuer,
        "aud": SCOPE.audience,
        "sub": USER_ID,
        "sid": FAMILY_ID,
        "role": "user",
        "gender": "female",
        "iat": NOW / 1000,
        "exp": NOW // 1000 + 900,
        "jti": "one",
    }


@pytest.fixture
def refused(ring: KeyRing, header: Header, claims: Claims) -> Callable[[str], None]:
    """Refused by one that has seen no token yet, and by one that knows the headers of ours."""
    experienced = Authenticator(ring, SCOPE)
    experienced.verify(signed(header, claims), NOW)

    def check(token: str) -> None:
        for authenticator in (Authenticator(ring, SCOPE), experienced):
            with pytest.raises(Unauthenticated):
                authenticator.verify(token, NOW)

    return check
