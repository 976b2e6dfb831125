"""What accounts needs from storage, and the outcomes it gets back.

Any method may raise `base.errors.Unavailable`; then nothing was changed, or the same call may safely be repeated.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from accounts.model import (
    Credentials,
    NewFamily,
    NewToken,
    ProfileChange,
    RevokeReason,
    Role,
    SignIn,
    User,
)


class RotationRefusal(StrEnum):
    """Why a refresh token was not exchanged."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REUSED = "reused"  # it had been used before: its family is revoked now
    BANNED = "banned"


@dataclass(frozen=True, slots=True)
class Rotated:
    """A refresh token was exchanged for its successor."""

    user: User
    family_id: str


@dataclass(frozen=True, slots=True)
class NotRotated:
    """A refresh token was refused. Whose it was is known unless it is `UNKNOWN`."""

    reason: RotationRefusal
    user_id: str | None = None
    family_id: str | None = None


class AccountStore(Protocol):
    """Users, their sign-ins, and the chains of refresh tokens that belong to those."""

    async def register(self, user: User, password_hash: str, family: NewFamily) -> bool:
        """Store a user together with the first sign-in; False, with nothing stored, when the e-mail is taken."""
        ...

    async def user(self, user_id: str) -> User | None:
        """The account, banned or not; None when it does not exist or was deleted."""
        ...

    async def credentials(self, email: str) -> Credentials | None:
        """What a login by this address, in whatever case, is checked against."""
        ...

    async def set_password_hash(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Replace the hash unless it changed meanwhile."""
        ...

    async def change_profile(self, user_id: str, change: ProfileChange, now_ms: int) -> User | None:
        """The account after the change; None when there is none."""
        ...

    async def set_role(self, email: str, role: Role, now_ms: int) -> User | None:
        """The account with its new role; None when there is none."""
        ...

    async def start_family(self, family: NewFamily) -> None:
        """Store a sign-in with its first refresh token."""
        ...

    async def rotate(self, token_hash: bytes, successor: NewToken, now_ms: int) -> Rotated | NotRotated:
        """Exchange a token for its successor, exactly once however many ask at the same moment.

        A token that was used before revokes its family.
        """
        ...

    async def revoke_family(self, family_id: str, reason: RevokeReason, now_ms: int) -> None:
        """End a sign-in; one that has ended keeps its first reason."""
        ...

    async def revoke_all(self, user_id: str, reason: RevokeReason, before_ms: int) -> None:
        """End all sign-ins of a user, and note that access tokens issued before `before_ms` are refused."""
        ...

    async def sign_ins(self, user_id: str, now_ms: int) -> list[SignIn]:
        """Where the user is signed in, most recently used first."""
        ...

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        """Delete at most `limit` sign-ins that ran out, with their tokens, and as many tokens; how many went."""
        ...


class RevocationLog(Protocol):
    """Tells REST and the live sockets which access tokens are void."""

    async def revoke_user(self, user_id: str, before_ms: int, reason: RevokeReason) -> None:
        """Void what was issued to the user before a moment."""
        ...

    async def revoke_family(self, user_id: str, family_id: str, now_ms: int, reason: RevokeReason) -> None:
        """Void what was issued in one sign-in."""
        ...


class LoginGuard(Protocol):
    """Slows down guessing."""

    async def attempt(self, account: str, address: str) -> int:
        """Count an attempt as failed until it succeeds; how many milliseconds too early it comes (0: go on)."""
        ...

    async def succeeded(self, account: str, address: str) -> None:
        """Forget the failures: somebody knew the password."""
        ...
