"""`/api/v1/admin/reports`: what people reported, what was agreed to in those calls, what came of it."""

from typing import Annotated, Literal

import msgspec

from base.errors import ErrorCode
from base.ids import is_uuid
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.pagination import PageMeta, PageQuery, decode_cursor, page_meta
from rest.policies import Policy
from rest.services import RestServices
from rest.validation import plain_text
from signaling.moderation import NOTE_LENGTH, ConsentView, ReportNotFound, ReportView, Resolution

REPORTS = f"{API}/admin/reports"


class ReportsQuery(PageQuery, frozen=True, kw_only=True):
    """The query of the list of reports."""

    status: Literal["open", "resolved"] = "open"


class ResolveBody(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a report."""

    resolution: Resolution
    note: Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH)] | None = None


async def reports(services: RestServices, exchange: Exchange) -> Reply:
    query = exchange.typed_query(ReportsQuery)
    before = None if query.cursor is None else decode_cursor(query.cursor)
    # One more than asked for: so the page knows whether it is the last without counting.
    found = await services.moderation.reports(query.status, before=before, limit=query.limit + 1)
    page = found[: query.limit]
    more = len(found) > query.limit
    return Reply(page, page_meta((page[-1].created_at, page[-1].report_id) if more else None))


async def consent_log(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(
        await services.moderation.consent_log(
            _report_id(exchange), exchange.caller.user_id, exchange.request_id
        )
    )


async def resolve(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(ResolveBody)
    note = plain_text("note", body.note, NOTE_LENGTH)
    return Reply(
        await services.moderation.resolve(
            _report_id(exchange), exchange.caller.user_id, exchange.request_id, body.resolution, note
        )
    )


def _report_id(exchange: Exchange) -> str:
    report_id = exchange.request.match_info["report_id"]
    if not is_uuid(report_id):
        raise ReportNotFound
    return report_id


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=REPORTS,
        name="listReports",
        summary="What people reported, newest first",
        policy=Policy.MODERATOR,
        handler=reports,
        query=ReportsQuery,
        returns=list[ReportView],
        meta=PageMeta,
        errors=(ErrorCode.INVALID_MESSAGE,),
    ),
    Endpoint(
        method="GET",
        path=f"{REPORTS}/{{report_id}}/consent",
        name="readConsentLog",
        summary="The consent log of the call that an open report is about; each reading is in the audit log",
        policy=Policy.MODERATOR,
        handler=consent_log,
        returns=ConsentView,
        errors=(ErrorCode.NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path=f"{REPORTS}/{{report_id}}/resolve",
        name="resolveReport",
        summary="Close a report; the log of its call is then kept no longer than others",
        policy=Policy.MODERATOR,
        handler=resolve,
        body=ResolveBody,
        returns=ReportView,
        errors=(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
    ),
)
