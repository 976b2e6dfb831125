"""Whom an access token speaks for, and all the ways in which one may not be believed."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import KeyRing, TokenKey
from accounts.model import Identity, Role, User
from accounts.signatures import MOST_HEADERS, NotSigned, Signatures
from accounts.tokens import Authenticator, TokenExpired, TokenIssuer, TokenScope, Unauthenticated
from base.policy import Gender

NOW = 1_793_016_000_123
USER_ID = "0192f0c1-2345-7abc-8def-0123456789ab"
FAMILY_ID = "0192f0c1-2345-7abc-8def-0123456789ac"
SECRET = "a secret of more than thirty-two bytes"
ED25519 = Ed25519PrivateKey.generate()
PRIVATE_PEM = ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC_PEM = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SCOPE = TokenScope("https://minuet.example", "minuet-app")

USER = User(
    id=USER_ID,
    email="ada@example.org",
    email_verified_at=None,
    role=Role.USER,
    first_name="Ada",
    gender=Gender.FEMALE,
    birth_date=date(1990, 5, 17),
    languages=("en",),
    region=None,
    locale=None,
    terms_version=None,
    privacy_version=None,
    created_at=NOW,
    updated_at=NOW,
)

Header = dict[str, Any]
Claims = dict[str, Any]


def part(value: object) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def signed(header: object, claims: object, secret: bytes = SECRET.encode()) -> str:
    """A token made by hand, so that anything may stand in it."""
    signing_input = part(header) + b"." + part(claims)
    signature = hmac.new(secret, signing_input, hashlib.sha256).digest()
    return (signing_input + b"." + part(signature)).decode()


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


def test_a_token_by_hand_is_believed(ring: KeyRing, header: Header, claims: Claims) -> None:
    """The negative cases below differ from this one in one point each."""
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


def test_a_clock_slightly_ahead_is_forgiven(ring: KeyRing, header: Header, claims: Claims) -> None:
    """Five seconds, for tokens of another node."""
    token = signed(header, {**claims, "iat": NOW / 1000 + 4.9})

    assert Authenticator(ring, SCOPE).verify(token, NOW).user_id == USER_ID


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


def test_a_token_of_a_key_that_left_the_ring_is_refused(header: Header, claims: Claims) -> None:
    """Rotation: the old key verifies while it is kept as a previous one, and not after."""
    token = signed(header, claims)
    new_secret = "another secret of more than thirty-two bytes"

    assert Authenticator(KeyRing.parse(new_secret, [SECRET]), SCOPE).verify(token, NOW)
    with pytest.raises(Unauthenticated):
        Authenticator(KeyRing.parse(new_secret), SCOPE).verify(token, NOW)


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


@given(
    st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=é\x00", max_size=200)
)
def test_any_text_is_refused_with_nothing_else_raised(text: str) -> None:
    """Headers carry what attackers like."""
    with pytest.raises(Unauthenticated):
        Authenticator(KeyRing.parse(SECRET), SCOPE).verify(text, NOW)
