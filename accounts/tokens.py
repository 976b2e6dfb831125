"""Access tokens (JWT, RFC 7519 and 9068) and refresh tokens (opaque).

Decides form, claims and lifetimes, and whether a token is to be believed; refuses to know the clock, storage and
revocation. `Authenticator` is synchronous and does no I/O: REST and the WebSocket hub share it.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass

import jwt
import msgspec
import orjson

from accounts.keys import KeyRing
from accounts.model import Identity, Role, User
from accounts.signatures import TYPE, Signatures
from base.errors import ErrorCode, MinuetError
from base.ids import is_uuid
from base.policy import Gender

ACCESS_S = 15 * 60
REFRESH_S = 30 * 24 * 3600
# By how much another node's clock may be ahead of ours.
CLOCK_SKEW_MS = 5_000
REFRESH_BYTES = 32

_REFRESH_FORM = re.compile(r"mrt_[A-Za-z0-9_-]{43}")


class Unauthenticated(MinuetError):
    """Who is asking is not known."""

    code = ErrorCode.UNAUTHENTICATED


class TokenExpired(MinuetError):
    """The access token was good until it ran out."""

    code = ErrorCode.TOKEN_EXPIRED


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of an access token. `iat` and `exp` are seconds; `iat` keeps its milliseconds, because a token
    of the very second of a sign-out must be told from one after it."""

    iss: str
    aud: str
    sub: str
    sid: str
    role: Role
    gender: Gender
    iat: float
    exp: float
    jti: str
    nbf: float | None = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and the Unix milliseconds of its end."""

    token: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class TokenScope:
    """Who issues tokens, for whom: both must fit exactly."""

    issuer: str = "minuet"
    audience: str = "minuet"


class TokenIssuer:
    """Signs access tokens with the ring's current key."""

    def __init__(self, ring: KeyRing, scope: TokenScope, *, access_s: int = ACCESS_S) -> None:
        self._ring = ring
        self._scope = scope
        self._access_ms = access_s * 1000
        self._jws = jwt.PyJWS(algorithms=["HS256", "EdDSA"])

    def issue(self, user: User, family_id: str, token_id: str, now_ms: int) -> AccessToken:
        """A token for one sign-in of a user, named by a fresh `token_id`."""
        # Never older than the last sign-out everywhere, even when that was decided by a clock ahead of ours.
        issued_at = max(now_ms, user.revoked_before or 0)
        expires_at = issued_at + self._access_ms
        payload = {
            "iss": self._scope.issuer,
            "aud": self._scope.audience,
            "sub": user.id,
            "sid": family_id,
            "role": user.role,
            "gender": user.gender,
            "iat": issued_at / 1000,
            "exp": expires_at // 1000,
            "jti": token_id,
        }
        key = self._ring.current
        if key.signing is None:
            raise RuntimeError("the current key cannot sign")
        token = self._jws.encode(
            orjson.dumps(payload), key.signing, key.algorithm, headers={"kid": key.kid, "typ": TYPE}
        )
        return AccessToken(token, expires_at // 1000 * 1000)


class Authenticator:
    """Tells whom an access token speaks for."""

    def __init__(self, ring: KeyRing, scope: TokenScope) -> None:
        self._signatures = Signatures(ring)
        self._scope = scope
        self._claims = msgspec.json.Decoder(Claims)

    def verify(self, token: str, now_ms: int) -> Identity:
        """The identity in a token that is ours, whole and in time. Not whether it was revoked.

        Raises:
            Unauthenticated: it is not such a token; the message does not say why.
            TokenExpired: it was, until it ran out.
        """
        try:
            claims = self._claims.decode(self._signatures.signed_payload(token))
            identity = _identity(claims)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise Unauthenticated("The access token is not valid.") from error
        if claims.iss != self._scope.issuer or claims.aud != self._scope.audience:
            raise Unauthenticated("The access token is not valid.")
        starts_at_ms = max(identity.issued_at_ms, round((claims.nbf or 0) * 1000))
        if starts_at_ms > now_ms + CLOCK_SKEW_MS:
            raise Unauthenticated("The access token is not valid.")
        if identity.expires_at_ms <= now_ms:
            raise TokenExpired
        return identity


def _identity(claims: Claims) -> Identity:
    if not (is_uuid(claims.sub) and is_uuid(claims.sid)):
        raise ValueError("not ids of ours")
    return Identity(
        user_id=claims.sub,
        role=claims.role,
        gender=claims.gender,
        family_id=claims.sid,
        issued_at_ms=round(claims.iat * 1000),
        expires_at_ms=round(claims.exp * 1000),
    )


def refresh_token(random: bytes) -> str:
    """A refresh token of 256 random bits; the prefix lets secret scanners find a leaked one."""
    if len(random) != REFRESH_BYTES:
        raise ValueError(f"a refresh token needs {REFRESH_BYTES} random bytes, got {len(random)}")
    return "mrt_" + urlsafe_b64encode(random).rstrip(b"=").decode()


def refresh_token_hash(token: str) -> bytes:
    """What is stored of a refresh token. A plain hash: there is nothing to guess in 256 random bits.

    Raises:
        Unauthenticated: it does not have the form of one.
    """
    if not _REFRESH_FORM.fullmatch(token):
        raise Unauthenticated("The refresh token is not valid.")
    return hashlib.sha256(token.encode()).digest()
