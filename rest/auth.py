"""Who a request is from: the bearer token, verified and not revoked."""

from aiohttp import web

from accounts.model import Identity
from accounts.tokens import Authenticator, Unauthenticated
from base.errors import ErrorCode, MinuetError
from rest.policies import ALLOWED, Policy
from rest.ports import Revocations


class Forbidden(MinuetError):
    """The caller's role may not do this."""

    code = ErrorCode.FORBIDDEN


def bearer_token(request: web.Request) -> str:
    """The one token of the request (RFC 6750, section 2.1). Never from the query: URLs end up in logs.

    Raises:
        Unauthenticated: there is none, or more than one.
    """
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        raise Unauthenticated("An access token is needed.")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("An access token is needed.")
    return token.strip(" ")


async def refuse_revoked(identity: Identity, revocations: Revocations) -> None:
    """Return when the identity's token still counts.

    Raises:
        Unauthenticated: it was taken back by a sign-out or a ban.
        Unavailable: Redis is away. Letting everybody in then would undo every sign-out and ban.
    """
    if await revocations.is_revoked(identity):
        raise Unauthenticated("The access token was revoked.")


def identify(request: web.Request, authenticator: Authenticator, now_ms: int) -> Identity:
    """Whom the request's token speaks for; not whether it was revoked.

    Raises:
        Unauthenticated, TokenExpired: see `Authenticator.verify`.
    """
    return authenticator.verify(bearer_token(request), now_ms)


def refuse_forbidden(policy: Policy, identity: Identity) -> None:
    """Return when the policy allows the identity's role.

    Raises:
        Forbidden: it does not.
    """
    roles = ALLOWED[policy]
    if roles is not None and identity.role not in roles:
        raise Forbidden
