"""Who is speaking: a token held against its signature, its time and the list of those taken back."""

from typing import Final, Protocol

from accounts.model import Identity
from base.clock import Clock
from base.errors import CloseCode, ErrorCode, MinuetError

_CLOSE_CODES: Final = {
    ErrorCode.TOKEN_EXPIRED: CloseCode.TOKEN_EXPIRED,
    ErrorCode.UNAUTHENTICATED: CloseCode.BAD_TOKEN,
    ErrorCode.BANNED: CloseCode.BANNED,
    ErrorCode.UNAVAILABLE: CloseCode.INTERNAL,
}


class Authenticator(Protocol):
    """Checks signature, claims and time; raises MinuetError."""

    def verify(self, token: str, now_ms: int) -> Identity: ...


class Revocations(Protocol):
    """Knows which tokens were taken back; raises Unavailable."""

    async def is_revoked(self, identity: Identity) -> bool: ...

    def refuse_unknown(self) -> None:
        """Raises: Unavailable while nobody can say."""
        ...


class Authentication:
    """The one way from a token to an identity."""

    def __init__(self, authenticator: Authenticator, revocations: Revocations, clock: Clock) -> None:
        self._authenticator = authenticator
        self._revocations = revocations
        self._clock = clock

    def read(self, token: str | None) -> Identity:
        """Whom the token speaks for, if it was not taken back: for whoever learns that in a step that it is needed for.

        Raises: MinuetError (`unauthenticated`, `token_expired`).
        """
        if token is None:
            raise MinuetError("a token is needed", code=ErrorCode.UNAUTHENTICATED)
        return self._authenticator.verify(token, self._clock.wall_ms())

    async def identify(self, token: str | None) -> Identity:
        """Whom the token speaks for.

        Raises: MinuetError (`unauthenticated`, `token_expired`), Unavailable.
        """
        identity = self.read(token)
        await self.check(identity)
        return identity

    def refuse_unknown(self) -> None:
        """Raises: Unavailable while nobody can say which tokens were taken back."""
        self._revocations.refuse_unknown()

    async def check(self, identity: Identity) -> None:
        """That nothing was taken back since. Raises: MinuetError `unauthenticated`, Unavailable."""
        if await self._revocations.is_revoked(identity):
            raise MinuetError("the token was taken back", code=ErrorCode.UNAUTHENTICATED)


def close_code_for(error: MinuetError) -> CloseCode:
    """With which code a connection is closed whose first message was refused so."""
    return _CLOSE_CODES.get(error.code, CloseCode.INTERNAL)
