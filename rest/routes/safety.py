"""`/api/v1/blocks` and `/api/v1/reports`: twins of `safety.block` and `safety.report`, and taking a block back."""

from typing import Annotated

import msgspec

from base.errors import ErrorCode
from base.ids import UserId, is_uuid
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.pagination import PageMeta, PageQuery, decode_cursor, page_meta
from rest.policies import Policy
from rest.ports import InteractionPeer
from rest.routes.auth import Nothing
from rest.services import RestServices
from safety.block_list import NoSuchBlock
from safety.records import NOTE_LENGTH, ReportCategory
from signaling.protocol.messages.family import AboutSomebody

_ABOUT = (ErrorCode.NOT_A_PARTICIPANT, ErrorCode.NOT_CONNECTED, ErrorCode.CONFLICT)


class ReportBody(AboutSomebody, frozen=True, kw_only=True):
    """What to tell the moderators."""

    category: ReportCategory
    note: Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH)] = ""


class BlockMade(msgspec.Struct, frozen=True, kw_only=True):
    """The block's id."""

    block_id: str


class ReportMade(msgspec.Struct, frozen=True, kw_only=True):
    """The report's id."""

    report_id: str


class BlockView(msgspec.Struct, frozen=True, kw_only=True):
    """Whom one has blocked, and when."""

    block_id: str
    peer: InteractionPeer
    made_at: int


async def block(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(AboutSomebody)
    block_id = await services.safety.block(
        exchange.caller.user_id, call_id=body.call_id, connection_id=body.connection_id
    )
    return Reply(BlockMade(block_id=block_id))


async def blocks(services: RestServices, exchange: Exchange) -> Reply:
    query = exchange.typed_query(PageQuery)
    before = None if query.cursor is None else decode_cursor(query.cursor)
    # One more than asked for: so the page knows whether it is the last without counting.
    found = await services.block_list.made_by(
        UserId(exchange.caller.user_id), before=before, limit=query.limit + 1
    )
    page = found[: query.limit]
    views = [
        BlockView(block_id=one.block_id, peer=InteractionPeer(first_name=one.first_name), made_at=one.made_at)
        for one in page
    ]
    more = len(found) > query.limit
    return Reply(views, page_meta((page[-1].made_at, page[-1].block_id) if more else None))


async def take_back(services: RestServices, exchange: Exchange) -> Reply:
    block_id = exchange.request.match_info["block_id"]
    if not is_uuid(block_id):
        raise NoSuchBlock
    await services.block_list.take_back(block_id, UserId(exchange.caller.user_id))
    return Reply(Nothing())


async def report(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(ReportBody)
    report_id = await services.safety.report(
        exchange.caller.user_id,
        call_id=body.call_id,
        connection_id=body.connection_id,
        category=body.category,
        note=body.note,
    )
    return Reply(ReportMade(report_id=report_id))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path=f"{API}/blocks",
        name="block",
        summary="Never meet or hear of somebody again; twin of `safety.block`",
        policy=Policy.USER,
        handler=block,
        body=AboutSomebody,
        returns=BlockMade,
        status=201,
        errors=_ABOUT,
    ),
    Endpoint(
        method="GET",
        path=f"{API}/blocks",
        name="listBlocks",
        summary="Whom one has blocked, newest first",
        policy=Policy.USER,
        handler=blocks,
        query=PageQuery,
        returns=list[BlockView],
        meta=PageMeta,
        errors=(ErrorCode.INVALID_MESSAGE,),
    ),
    Endpoint(
        method="DELETE",
        path=f"{API}/blocks/{{block_id}}",
        name="takeBlockBack",
        summary="Take a block back; nothing that it ended comes back",
        policy=Policy.USER,
        handler=take_back,
        returns=Nothing,
        errors=(ErrorCode.NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path=f"{API}/reports",
        name="report",
        summary="Tell the moderators; twin of `safety.report`",
        policy=Policy.USER,
        handler=report,
        body=ReportBody,
        returns=ReportMade,
        status=201,
        errors=_ABOUT,
    ),
)
