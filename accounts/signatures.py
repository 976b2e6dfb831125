"""Which key of the ring has signed a token: compact JWS (RFC 7515), and nothing of what it claims.

The library judges a header that was not seen before, in all its forms. The header of a token that turned out to be ours is
remembered by its text: every token of one key begins with the same letters, and for those that follow only the signature
is left to be checked. Nobody without a key can have a header remembered.
"""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from accounts.keys import KeyRing, TokenKey

TYPE: Final = "at+jwt"
LONGEST_TOKEN: Final = 2_048
MOST_HEADERS: Final = 64
"""Other issuers with our keys may write their headers in other orders; more than so many nobody does."""


class NotSigned(ValueError):
    """It is not a token of ours."""


class Signatures:
    """Checks signatures against the keys of one ring."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._jws = jwt.PyJWS(algorithms=["HS256", "EdDSA"])
        self._headers: dict[str, TokenKey] = {}

    @property
    def known_headers(self) -> int:
        """How many headers are remembered."""
        return len(self._headers)

    def signed_payload(self, token: str) -> bytes:
        """What a token of ours says. Raises: NotSigned."""
        # No padding is written in a compact JWS (RFC 7515, section 2), whatever libraries let pass.
        if len(token) > LONGEST_TOKEN or not token.isascii() or "=" in token:
            raise NotSigned
        signing_input, _, signature = token.rpartition(".")
        header, _, payload = signing_input.partition(".")
        key = self._headers.get(header)
        if key is None:
            return self._judge(token, header)
        if not _has_signed(key, signing_input.encode(), signature.encode()):
            raise NotSigned
        try:
            return urlsafe_b64decode(payload + "==")
        except binascii.Error as error:
            raise NotSigned from error

    def _judge(self, token: str, header_text: str) -> bytes:
        try:
            header = self._jws.get_unverified_header(token)
            # We use no extensions, so a token that insists on one is not ours (RFC 7515, section 4.1.11).
            if header.get("typ") != TYPE or "crit" in header:
                raise NotSigned
            kid = header.get("kid")
            key = self._ring.get(kid) if isinstance(kid, str) else None
            if key is None or header.get("alg") != key.algorithm:
                raise NotSigned
            payload: bytes = self._jws.decode_complete(token, key.verifying, [key.algorithm])["payload"]
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise NotSigned from error
        if len(self._headers) < MOST_HEADERS:
            self._headers[header_text] = key
        return payload


def _has_signed(key: TokenKey, signing_input: bytes, signature: bytes) -> bool:
    if isinstance(key.verifying, Ed25519PublicKey):
        try:
            raw = urlsafe_b64decode(signature + b"==")
            key.verifying.verify(raw, signing_input)
        except (binascii.Error, InvalidSignature):
            return False
        return _text_of(raw) == signature
    # Written out and not read: only the one form of a signature is taken, as the library does.
    return hmac.compare_digest(_text_of(hmac.digest(key.verifying, signing_input, "sha256")), signature)


def _text_of(signature: bytes) -> bytes:
    return urlsafe_b64encode(signature).rstrip(b"=")
