"""Tokens that nobody issued: whatever their header says of keys and algorithms, they are not believed."""

import json
from collections.abc import Callable

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import KeyRing, TokenKey
from accounts.signatures import MOST_HEADERS, NotSigned, Signatures
from accounts.tokens import Authenticator, TokenIssuer, Unauthenticated
from tests.unit.accounts.handmade_tokens import (
    ED25519,
    FAMILY_ID,
    NOW,
    PRIVATE_PEM,
    PUBLIC_PEM,
    SCOPE,
    SECRET,
    USER,
    USER_ID,
    Claims,
    Header,
    part,
    signed,
)


def test_a_signature_has_one_form_only(ring: KeyRing, header: Header, claims: Claims) -> None:
    """The last letter of 32 bytes in base64 has four bits to spare; with those set it is another text, and no signature."""
    authenticator = Authenticator(ring, SCOPE)
    token = signed(header, claims)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + letters[letters.index(token[-1]) ^ 1]

    for _ in range(2):
        with pytest.raises(Unauthenticated):
            authenticator.verify(twin, NOW)
        assert authenticator.verify(token, NOW).user_id == USER_ID


def test_nobody_without_a_key_has_a_header_remembered(ring: KeyRing, header: Header, claims: Claims) -> None:
    """Else whoever sends tokens of their own making could fill the memory, or have `alg` settled for others."""
    signatures = Signatures(ring)
    for number in range(MOST_HEADERS + 10):
        with pytest.raises(NotSigned):
            signatures.signed_payload(
                signed({**header, "jku": number}, claims, b"a secret of somebody else, long")
            )
    assert signatures.known_headers == 0

    for number in range(MOST_HEADERS + 10):
        signatures.signed_payload(signed({**header, "x": number}, claims))

    assert signatures.known_headers == MOST_HEADERS


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", "", None, 5]
)
def test_a_key_is_used_with_its_own_algorithm_only(
    algorithm: object, header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """Whatever the header says, and also where the signature would fit."""
    refused(signed({**header, "alg": algorithm}, claims))


def test_a_token_without_a_signature_is_refused(
    header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """The algorithm `none`, with and without the last dot."""
    unsigned = (part({**header, "alg": "none"}) + b"." + part(claims)).decode()

    refused(unsigned)
    refused(unsigned + ".")
    refused(signed(header, claims).rpartition(".")[0] + ".")


@pytest.mark.parametrize("public", [PUBLIC_PEM, PUBLIC_PEM.strip(), "raw"])
def test_a_public_key_is_no_secret_to_sign_with(
    public: str, claims: Claims, refused: Callable[[str], None]
) -> None:
    """The classic confusion: HS256 over the bytes of a public key that everybody may know."""
    raw = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    secret = raw if public == "raw" else public.encode()
    kid = TokenKey.parse(PRIVATE_PEM).kid

    for algorithm in ("HS256", "EdDSA"):
        refused(signed({"alg": algorithm, "typ": "at+jwt", "kid": kid}, claims, secret))


def test_a_token_signed_by_an_rsa_key_of_somebody_is_refused(
    header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """Also when it brings its key along in the header."""
    key = generate_private_key(65_537, 2_048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))

    refused(jwt.encode(claims, key, "RS256", headers={"kid": header["kid"], "typ": "at+jwt", "jwk": public}))


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "unknown",
        "../../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "http://evil.example/k",
        7,
        None,
        ["x"],
        {},
    ],
)
def test_a_key_is_looked_for_in_the_ring_only(
    kid: object, header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """A `kid` is a name, never a path, an address or a query; an empty file is no secret."""
    refused(signed({**header, "kid": kid}, claims))
    refused(signed({**header, "kid": kid}, claims, b""))


def test_a_token_that_names_no_key_is_refused(
    header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """There is no key to fall back to."""
    del header["kid"]

    refused(signed(header, claims))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "rt+jwt", "id_token", "", None, 1])
def test_a_token_of_another_kind_is_refused(
    kind: object, header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """Only access tokens open anything (RFC 9068)."""
    refused(signed({**header, "typ": kind}, claims))


@pytest.mark.parametrize("critical", [[], ["exp"], ["b64"], ["http://example.invalid/x"], "exp", None])
def test_a_token_that_insists_on_an_extension_is_refused(
    critical: object, header: Header, claims: Claims, refused: Callable[[str], None]
) -> None:
    """We understand no extensions, so any `crit` is one too many."""
    refused(signed({**header, "crit": critical}, claims))
    refused(signed({**header, "crit": critical, "b64": False}, claims))


def test_the_refusal_does_not_say_why(ring: KeyRing, header: Header, claims: Claims) -> None:
    """A forger learns nothing from the answer."""
    authenticator = Authenticator(ring, SCOPE)
    messages = set()
    for token in (
        "x",
        signed(header, claims, b"wrong"),
        signed(header, {**claims, "aud": "x"}),
        signed({}, claims),
    ):
        with pytest.raises(Unauthenticated) as refusal:
            authenticator.verify(token, NOW)
        messages.add(refusal.value.message)

    assert len(messages) == 1


@given(st.data())
def test_a_changed_token_is_refused_with_nothing_else_raised(data: st.DataObject) -> None:
    """Whatever character is changed, dropped or put in, the answer is a refusal."""
    ring = KeyRing.parse(SECRET)
    token = TokenIssuer(ring, SCOPE).issue(USER, FAMILY_ID, "one", NOW).token
    place = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.text(max_size=3))
    changed = token[:place] + other + token[place + 1 :]
    if changed == token:
        return

    with pytest.raises(Unauthenticated):
        Authenticator(ring, SCOPE).verify(changed, NOW)
