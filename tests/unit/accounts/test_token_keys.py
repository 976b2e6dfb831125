"""Keys from configuration."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from accounts.keys import KeyRing, TokenKey, UnusableKey
from accounts.tokens import Unauthenticated, refresh_token, refresh_token_hash

SECRET = "0123456789abcdef0123456789abcdef"


def test_a_key_has_the_same_name_on_every_node() -> None:
    """Names are derived from keys, so that nobody has to think them up."""
    private = Ed25519PrivateKey.generate()
    private_pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public_pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    assert TokenKey.parse(private_pem).kid == TokenKey.parse(public_pem).kid
    assert TokenKey.parse(SECRET).kid == TokenKey.parse(f" {SECRET}\n").kid
    assert TokenKey.parse(SECRET).kid != TokenKey.parse(SECRET + "x").kid


def test_a_secret_that_could_be_guessed_is_refused() -> None:
    """32 bytes are what the algorithm's strength needs (RFC 7518, section 3.2)."""
    with pytest.raises(UnusableKey, match="32 bytes"):
        TokenKey.parse(SECRET[:-1])


def test_keys_of_another_kind_are_refused() -> None:
    """One algorithm a kind of key; a curve that we do not use is a mistake."""
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    with pytest.raises(UnusableKey, match="Ed25519"):
        TokenKey.parse(pem.decode())
    with pytest.raises(UnusableKey, match="cannot be read"):
        TokenKey.parse("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")


def test_a_ring_needs_a_key_that_signs() -> None:
    """A public key may verify the tokens of before, but not sign new ones."""
    public = Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    assert KeyRing.parse(SECRET, [pem]).get(TokenKey.parse(pem).kid)
    with pytest.raises(UnusableKey, match="private"):
        KeyRing.parse(pem)


def test_a_key_does_not_show_itself() -> None:
    """Not in a log, not in a traceback."""
    assert SECRET not in repr(TokenKey.parse(SECRET))


def test_a_refresh_token_is_stored_as_a_hash_of_itself() -> None:
    """256 bits, in a form that secret scanners know."""
    token = refresh_token(bytes(range(32)))

    assert token == "mrt_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert len(refresh_token_hash(token)) == 32
    assert refresh_token_hash(token) != refresh_token_hash(refresh_token(bytes(32)))


@pytest.mark.parametrize(
    "token", ["", "mrt_", "mrt_" + "A" * 42, "mrt_" + "A" * 44, "mrt_" + "é" * 43, "x" * 47]
)
def test_what_has_not_the_form_of_a_refresh_token_is_refused(token: str) -> None:
    """Without asking the database."""
    with pytest.raises(Unauthenticated):
        refresh_token_hash(token)
