"""`/api/v1/auth`: registration, login, refresh, logout, who am I."""

from datetime import date
from typing import Annotated

import msgspec

from accounts import rules
from accounts.model import Device, Registration, Role, User
from accounts.service import SignedIn
from base.errors import ErrorCode
from base.policy import Gender
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.policies import Policy
from rest.services import RestServices

# Bounds of what is looked at; the rules of accounts are stricter and say so by field.
Text = Annotated[str, msgspec.Meta(max_length=1_024)]
ShortText = Annotated[str, msgspec.Meta(max_length=64)]


class RegisterBody(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody is. `birth_date` is `YYYY-MM-DD`; people under 18 are refused."""

    email: Text
    password: Annotated[str, msgspec.Meta(max_length=1_024, description="8 to 128 characters")]
    first_name: Text
    gender: Gender
    birth_date: date
    languages: Annotated[list[ShortText], msgspec.Meta(max_length=32)] = []
    region: ShortText | None = None
    locale: ShortText | None = None
    terms_version: ShortText | None = None
    privacy_version: ShortText | None = None
    device_id: Text | None = None


class LoginBody(msgspec.Struct, frozen=True, kw_only=True):
    """E-mail and password."""

    email: Text
    password: Text
    device_id: Text | None = None


class RefreshBody(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token; it counts once."""

    refresh_token: Text


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as its owner sees it."""

    id: str
    email: str
    email_verified: bool
    role: Role
    first_name: str
    gender: Gender
    birth_date: date
    age: int
    languages: list[str]
    region: str | None
    locale: str | None
    terms_version: str | None
    privacy_version: str | None
    created_at: int


class SignedInView(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, with the Unix milliseconds of their ends."""

    user: UserView
    access_token: str
    expires_at: int
    refresh_token: str
    refresh_expires_at: int
    token_type: str = "Bearer"  # noqa: S105  the name of a scheme


class UserData(msgspec.Struct, frozen=True, kw_only=True):
    """The account that a request is from."""

    user: UserView


class Nothing(msgspec.Struct, frozen=True):
    """There is nothing more to say."""


def user_view(user: User, now_ms: int) -> UserView:
    return UserView(
        id=user.id,
        email=user.email,
        email_verified=user.email_verified_at is not None,
        role=user.role,
        first_name=user.first_name,
        gender=user.gender,
        birth_date=user.birth_date,
        age=user.age(now_ms),
        languages=list(user.languages),
        region=user.region,
        locale=user.locale,
        terms_version=user.terms_version,
        privacy_version=user.privacy_version,
        created_at=user.created_at,
    )


async def register(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(RegisterBody)
    entered = Registration(
        email=body.email,
        password=body.password,
        first_name=body.first_name,
        gender=body.gender,
        birth_date=body.birth_date,
        languages=tuple(body.languages),
        region=body.region,
        locale=body.locale,
        terms_version=body.terms_version,
        privacy_version=body.privacy_version,
    )
    signed_in = await services.accounts.register(entered, _device(exchange, body.device_id))
    return _signed_in(signed_in, services)


async def login(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(LoginBody)
    device = _device(exchange, body.device_id)
    return _signed_in(
        await services.accounts.login(body.email, body.password, exchange.address, device), services
    )


async def refresh(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(RefreshBody)
    return _signed_in(await services.accounts.refresh(body.refresh_token), services)


async def logout(services: RestServices, exchange: Exchange) -> Reply:
    await services.accounts.logout(exchange.caller)
    return Reply(Nothing())


async def logout_all(services: RestServices, exchange: Exchange) -> Reply:
    await services.accounts.logout_all(exchange.caller)
    return Reply(Nothing())


async def me(services: RestServices, exchange: Exchange) -> Reply:
    user = await services.accounts.me(exchange.caller)
    return Reply(UserData(user=user_view(user, services.ids.now_ms())))


def _device(exchange: Exchange, device_id: str | None) -> Device:
    name = rules.device_name(exchange.request.headers.get("User-Agent"))
    return Device(rules.device_id(device_id), name)


def _signed_in(signed_in: SignedIn, services: RestServices) -> Reply:
    return Reply(
        SignedInView(
            user=user_view(signed_in.user, services.ids.now_ms()),
            access_token=signed_in.access_token,
            expires_at=signed_in.expires_at,
            refresh_token=signed_in.refresh_token,
            refresh_expires_at=signed_in.refresh_expires_at,
        )
    )


ENDPOINTS = (
    Endpoint(
        method="POST",
        path=f"{API}/auth/register",
        name="register",
        summary="Make an account and sign in",
        policy=Policy.PUBLIC,
        handler=register,
        body=RegisterBody,
        returns=SignedInView,
        status=201,
        limit="register",
        errors=(ErrorCode.CONFLICT,),
    ),
    Endpoint(
        method="POST",
        path=f"{API}/auth/login",
        name="login",
        summary="Sign in",
        policy=Policy.PUBLIC,
        handler=login,
        body=LoginBody,
        returns=SignedInView,
        limit="login",
        errors=(ErrorCode.UNAUTHENTICATED, ErrorCode.BANNED),
    ),
    Endpoint(
        method="POST",
        path=f"{API}/auth/refresh",
        name="refresh",
        summary="Exchange a refresh token for new tokens",
        policy=Policy.PUBLIC,
        handler=refresh,
        body=RefreshBody,
        returns=SignedInView,
        limit="refresh",
        errors=(ErrorCode.UNAUTHENTICATED, ErrorCode.BANNED),
    ),
    Endpoint(
        method="POST",
        path=f"{API}/auth/logout",
        name="logout",
        summary="Sign out here",
        policy=Policy.USER,
        handler=logout,
        returns=Nothing,
    ),
    Endpoint(
        method="POST",
        path=f"{API}/auth/logout-all",
        name="logoutAll",
        summary="Sign out everywhere",
        policy=Policy.USER,
        handler=logout_all,
        returns=Nothing,
    ),
    Endpoint(
        method="GET",
        path=f"{API}/auth/me",
        name="me",
        summary="The account that the token belongs to",
        policy=Policy.USER,
        handler=me,
        returns=UserData,
        errors=(ErrorCode.NOT_FOUND,),
    ),
)
