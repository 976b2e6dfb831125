"""`/api/v1/history`: what was."""

from base.errors import ErrorCode
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.pagination import PageMeta, PageQuery, decode_cursor, page_meta
from rest.policies import Policy
from rest.ports import Interaction
from rest.services import RestServices


async def interactions(services: RestServices, exchange: Exchange) -> Reply:
    query = exchange.typed_query(PageQuery)
    before = None if query.cursor is None else decode_cursor(query.cursor)
    # One more than asked for: so the page knows whether it is the last without counting.
    found = await services.history.interactions(exchange.caller.user_id, before=before, limit=query.limit + 1)
    page = found[: query.limit]
    more = len(found) > query.limit
    return Reply(page, page_meta((page[-1].ended_at, page[-1].call_id) if more else None))


ENDPOINTS = (
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
