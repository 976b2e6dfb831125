"""`/api/v1/history`: what was."""

import msgspec

from base.errors import ErrorCode
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.pagination import PageMeta, PageQuery, decode_cursor, page_meta
from rest.policies import Policy
from rest.ports import Interaction, InteractionPeer
from rest.services import RestServices


async def interactions(services: RestServices, exchange: Exchange) -> Reply:
    query = exchange.typed_query(PageQuery)
    before = None if query.cursor is None else decode_cursor(query.cursor)
    # One more than asked for: so the page knows whether it is the last without counting.
    found = await services.history.interactions(exchange.caller.user_id, before=before, limit=query.limit + 1)
    page = found[: query.limit]
    more = len(found) > query.limit
    return Reply(page, page_meta((page[-1].ended_at, page[-1].call_id) if more else None))


class MadeConnectionView(msgspec.Struct, frozen=True, kw_only=True):
    """When one came to stay in touch with somebody, and in which call."""

    connection_id: str
    call_id: str
    peer: InteractionPeer
    made_at: int


async def connections(services: RestServices, exchange: Exchange) -> Reply:
    query = exchange.typed_query(PageQuery)
    before = None if query.cursor is None else decode_cursor(query.cursor)
    page, after = await services.chat.made(exchange.caller.user_id, before=before, limit=query.limit)
    views = [
        MadeConnectionView(
            connection_id=one.connection_id,
            call_id=one.call_id,
            peer=InteractionPeer(first_name=one.first_name),
            made_at=one.made_at,
        )
        for one in page
    ]
    return Reply(views, page_meta(after))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API}/history/connections",
        name="listMadeConnections",
        summary="The connections that one has, the last made first",
        policy=Policy.USER,
        handler=connections,
        query=PageQuery,
        returns=list[MadeConnectionView],
        meta=PageMeta,
        errors=(ErrorCode.INVALID_MESSAGE,),
    ),
    Endpoint(
        method="GET",
        path=f"{API}/history/interactions",
        name="listInteractions",
        summary="One's own finished calls, newest first",
        policy=Policy.USER,
        handler=interactions,
        query=PageQuery,
        returns=list[Interaction],
        meta=PageMeta,
        errors=(ErrorCode.INVALID_MESSAGE,),
    ),
)
