"""The values of accounts: a user, what others learn of one, and who a request is from.

Pure. Times are integer milliseconds since the Unix epoch, ids are UUIDv7 strings.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, StrEnum, auto

from base.policy import Gender, age_on


class Role(StrEnum):
    """What an account may do in the system; its role in a call is another thing."""

    USER = "user"
    MODERATOR = "moderator"
    ADMIN = "admin"
    SERVICE = "service"


class RevokeReason(StrEnum):
    """Why tokens were taken back."""

    LOGOUT = "logout"
    LOGOUT_ALL = "logout_all"
    REUSE = "reuse"
    BAN = "ban"


class Standing(Enum):
    """What the list of revocations says of a token."""

    GOOD = auto()
    REVOKED = auto()
    UNKNOWN = auto()
    """Nothing, and nothing else of its user either: there may never have been anything, or it may be lost."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens that were taken back. `family_id` None: all sign-ins of the user, for tokens issued before `before_ms`."""

    user_id: str
    family_id: str | None
    before_ms: int
    reason: str
    """A `RevokeReason`, or one that only a newer release knows."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an access token speaks for. `family_id` is the sign-in it came from."""

    user_id: str
    role: Role
    gender: Gender
    family_id: str
    issued_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account as its owner and we know it."""

    id: str
    email: str
    email_verified_at: int | None
    role: Role
    first_name: str
    gender: Gender
    birth_date: date
    languages: tuple[str, ...]
    region: str | None
    locale: str | None
    terms_version: str | None
    privacy_version: str | None
    created_at: int
    updated_at: int
    banned_at: int | None = None
    revoked_before: int | None = None

    def age(self, now_ms: int) -> int:
        return age_at(self.birth_date, now_ms)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a login is checked against."""

    user: User
    password_hash: str


@dataclass(frozen=True, slots=True)
class Person:
    """What matching and a call may know of a user."""

    user_id: str
    first_name: str
    gender: Gender
    age: int
    languages: tuple[str, ...]
    region: str | None
    verified: bool
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What somebody hands in to get an account; already checked by `rules`."""

    email: str
    password: str
    first_name: str
    gender: Gender
    birth_date: date
    languages: tuple[str, ...] = ()
    region: str | None = None
    locale: str | None = None
    terms_version: str | None = None
    privacy_version: str | None = None


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """What people may change about themselves. Gender and birth date are not among it: controls hang on them."""

    first_name: str
    languages: tuple[str, ...]
    region: str | None
    locale: str | None


@dataclass(frozen=True, slots=True)
class Device:
    """Where a sign-in happened, as the client says."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A refresh token about to be stored: never the token itself."""

    token_hash: bytes
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFamily:
    """A sign-in about to be stored, with the first token of its chain."""

    id: str
    user_id: str
    device: Device
    token: NewToken


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """One place where a user is signed in, for the list of sessions."""

    id: str
    device: Device
    created_at: int
    last_used_at: int
    expires_at: int


def utc_date(now_ms: int) -> date:
    """The day that a moment falls on, in UTC."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).date()


def age_at(birth_date: date, now_ms: int) -> int:
    """Full years at a moment."""
    today = utc_date(now_ms)
    return age_on((birth_date.year, birth_date.month, birth_date.day), (today.year, today.month, today.day))
