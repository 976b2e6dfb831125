"""The keys that access tokens are signed with: a local ring, each key with one algorithm.

Decides which key signs (the first) and which verify (all). A key is found by its `kid` in this ring and nowhere
else: nothing in a token is ever used as a path, an address or an algorithm.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

Algorithm = Literal["HS256", "EdDSA"]

SHORTEST_SECRET = 32
_PEM = "-----BEGIN "


class UnusableKey(ValueError):
    """A configured key is too weak or not what it should be."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key. `signing` is None where only the public half is known, which is enough to verify."""

    kid: str
    algorithm: Algorithm
    verifying: bytes | Ed25519PublicKey
    signing: bytes | Ed25519PrivateKey | None

    @classmethod
    def parse(cls, text: str) -> "TokenKey":
        """A key from configuration: an Ed25519 key in PEM (EdDSA), or a secret of 32 bytes or more (HS256).

        Raises:
            UnusableKey: too short, or another kind of key.
        """
        text = text.strip()
        if text.startswith(_PEM):
            return _parse_pem(text.encode())
        secret = text.encode()
        if len(secret) < SHORTEST_SECRET:
            raise UnusableKey(
                f"a token secret needs at least {SHORTEST_SECRET} bytes; this one has {len(secret)}"
            )
        return cls(_kid(b"HS256", secret), "HS256", secret, secret)

    def __repr__(self) -> str:
        # A secret must not get into a log by way of a repr.
        return f"TokenKey(kid={self.kid!r}, algorithm={self.algorithm!r})"


class KeyRing:
    """The signing key and those of before, which still verify until their last token has run out."""

    def __init__(self, current: TokenKey, previous: Sequence[TokenKey] = ()) -> None:
        if current.signing is None:
            raise UnusableKey("the current token key must be private: it signs")
        self.current = current
        self._keys = {key.kid: key for key in (current, *previous)}

    @classmethod
    def parse(cls, current: str, previous: Sequence[str] = ()) -> "KeyRing":
        """A ring from configuration texts.

        Raises:
            UnusableKey: one of them cannot be used.
        """
        return cls(TokenKey.parse(current), [TokenKey.parse(text) for text in previous])

    def get(self, kid: str) -> TokenKey | None:
        return self._keys.get(kid)


def _parse_pem(pem: bytes) -> TokenKey:
    private: object = None
    try:
        if b"PRIVATE KEY" in pem:
            private = load_pem_private_key(pem, password=None)
            public: object = private.public_key()
        else:
            public = load_pem_public_key(pem)
    except (ValueError, TypeError) as error:
        raise UnusableKey("a token key in PEM cannot be read") from error
    if not isinstance(public, Ed25519PublicKey) or not isinstance(private, Ed25519PrivateKey | None):
        raise UnusableKey("a token key in PEM must be an Ed25519 key")
    return TokenKey(
        _kid(b"EdDSA", public.public_bytes(Encoding.Raw, PublicFormat.Raw)), "EdDSA", public, private
    )


def _kid(algorithm: bytes, key: bytes) -> str:
    # Derived, so that every node gives a key the same name. A one-way hash of 256 bits of secret tells nothing.
    return hashlib.sha256(b"minuet token key\0" + algorithm + b"\0" + key).hexdigest()[:16]
