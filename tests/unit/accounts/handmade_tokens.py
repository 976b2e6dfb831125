"""Ada, a server's keys, and access tokens made by hand."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from accounts.tokens import TokenScope
from tests.contract.postgres.stored_people import a_user

NOW = 1_793_016_000_123
USER_ID = "0192f0c1-2345-7abc-8def-0123456789ab"
FAMILY_ID = "0192f0c1-2345-7abc-8def-0123456789ac"
SECRET = "a secret of more than thirty-two bytes"
ED25519 = Ed25519PrivateKey.generate()
PRIVATE_PEM = ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC_PEM = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SCOPE = TokenScope("https://minuet.example", "minuet-app")

USER = a_user(id=USER_ID)

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
