"""`/api/v1/profile`: what people say about themselves. Gender and birth date are set once, at registration."""

from typing import Annotated

import msgspec

from accounts.model import ProfileChange
from base.errors import ErrorCode
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.policies import Policy
from rest.routes.auth import ShortText, Text, UserData, user_view
from rest.services import RestServices


class ProfileBody(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of what may be changed; what is left out becomes empty."""

    first_name: Text
    languages: Annotated[list[ShortText], msgspec.Meta(max_length=32)] = []
    region: ShortText | None = None
    locale: ShortText | None = None


async def get_profile(services: RestServices, exchange: Exchange) -> Reply:
    user = await services.profiles.get(exchange.caller.user_id)
    return Reply(UserData(user=user_view(user, services.ids.now_ms())))


async def put_profile(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(ProfileBody)
    change = ProfileChange(body.first_name, tuple(body.languages), body.region, body.locale)
    user = await services.profiles.put(exchange.caller.user_id, change)
    return Reply(UserData(user=user_view(user, services.ids.now_ms())))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API}/profile",
        name="getProfile",
        summary="One's own profile",
        policy=Policy.USER,
        handler=get_profile,
        returns=UserData,
        errors=(ErrorCode.NOT_FOUND,),
    ),
    Endpoint(
        method="PUT",
        path=f"{API}/profile",
        name="putProfile",
        summary="Replace one's own profile",
        policy=Policy.USER,
        handler=put_profile,
        body=ProfileBody,
        returns=UserData,
        errors=(ErrorCode.NOT_FOUND,),
    ),
)
