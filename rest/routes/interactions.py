"""`/api/v1/interactions/{call_id}`: the commands of a call that need no socket; twins of the messages.

Any device of a participant may use them, also one that has no session. Those that only take something away are never
refused because something is away: where the call cannot be reached, the answer is 202 with `pending`, and they are
done as soon as it can be.
"""

from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import msgspec

from base.errors import ErrorCode, MinuetError
from base.ids import CallId, UserId, is_uuid
from rest.endpoints import API, Endpoint, Exchange, Handler, Reply
from rest.policies import Policy
from rest.services import RestServices
from rest.validation import plain_text
from signaling.dispatch.ice import IceServersAnswer
from signaling.feedback import NOTE_LENGTH, Feedback, FeedbackTag

CALL = f"{API}/interactions/{{call_id}}"

_ALWAYS: Final = (ErrorCode.NOT_A_PARTICIPANT, ErrorCode.BAD_STATE, ErrorCode.CALL_ENDED, ErrorCode.CONFLICT)


class NotAParticipant(MinuetError):
    """There is no such call, or the caller is not in it: the two are not told apart."""

    code = ErrorCode.NOT_A_PARTICIPANT


class VideoApprovalBody(msgspec.Struct, frozen=True, kw_only=True):
    """Who may send video: `both`, or with `receive` only the other person."""

    direction: Literal["both", "receive"]


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller thought of the call. The other person never learns of it."""

    rating: Annotated[int, msgspec.Meta(ge=1, le=5, description="5 is best")]
    tags: Annotated[list[FeedbackTag], msgspec.Meta(max_length=8)] = []
    note: Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH)] | None = None


async def connect(services: RestServices, exchange: Exchange) -> Reply:
    answer = await services.calls.connect(_call_id(exchange), exchange.caller.user_id)
    # Asked again, it may be answered with the connection.
    return Reply(answer, is_pending=answer.get("pending") is True)


async def pass_by(services: RestServices, exchange: Exchange) -> Reply:
    return _done_or_kept(await services.calls.pass_by(_call_id(exchange), exchange.caller.user_id))


async def request_video(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(await services.calls.request_video(_call_id(exchange), exchange.caller.user_id))


async def approve_video(services: RestServices, exchange: Exchange) -> Reply:
    direction = exchange.typed_body(VideoApprovalBody).direction
    return Reply(await services.calls.approve_video(_call_id(exchange), exchange.caller.user_id, direction))


async def deny_video(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(await services.calls.deny_video(_call_id(exchange), exchange.caller.user_id))


async def revoke_video(services: RestServices, exchange: Exchange) -> Reply:
    return _done_or_kept(await services.calls.revoke_video(_call_id(exchange), exchange.caller.user_id))


async def hang_up(services: RestServices, exchange: Exchange) -> Reply:
    return _done_or_kept(await services.calls.hang_up(_call_id(exchange), exchange.caller.user_id))


async def give_feedback(services: RestServices, exchange: Exchange) -> Reply:
    body = exchange.typed_body(FeedbackBody)
    given = await services.feedback.give(
        CallId(_call_id(exchange)),
        UserId(exchange.caller.user_id),
        body.rating,
        body.tags,
        plain_text("note", body.note, NOTE_LENGTH),
    )
    services.metrics.feedback.labels(body.rating).inc()
    return Reply(given)


def _done_or_kept(answer: dict[str, Any] | None) -> Reply:
    return Reply({"pending": True}, is_pending=True) if answer is None else Reply(answer)


async def ice_servers(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(await services.ice.ice_servers(_call_id(exchange), exchange.caller.user_id))


def _call_id(exchange: Exchange) -> str:
    call_id = exchange.request.match_info["call_id"]
    if not is_uuid(call_id):
        raise NotAParticipant
    return call_id


def _twin(path: str, name: str, summary: str, handler: Handler, *errors: ErrorCode) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"{CALL}/{path}",
        name=name,
        summary=summary,
        policy=Policy.USER,
        handler=handler,
        returns=dict[str, Any],
        idempotent_by_key=True,
        errors=(*_ALWAYS, *errors),
    )


def _restricting(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, restricts=True)


ENDPOINTS = (
    replace(
        _twin(
            "connect",
            "connect",
            "Ask to stay in touch; twin of `connect.request`",
            connect,
            ErrorCode.FORBIDDEN_ROLE,
            ErrorCode.LIMIT_REACHED,
        ),
        may_wait=True,
    ),
    _restricting(
        _twin(
            "pass",
            "passBy",
            "Do not stay in touch; twin of `connect.pass`",
            pass_by,
            ErrorCode.FORBIDDEN_ROLE,
        )
    ),
    _twin(
        "video-request",
        "requestVideo",
        "Ask for video; twin of `video.request`",
        request_video,
        ErrorCode.FORBIDDEN_ROLE,
        ErrorCode.ALREADY_REQUESTED,
        ErrorCode.ALREADY_ALLOWED,
        ErrorCode.COOLDOWN,
        ErrorCode.LIMIT_REACHED,
        ErrorCode.PEER_RECONNECTING,
    ),
    replace(
        _twin(
            "video-approval",
            "approveVideo",
            "Open video; twin of `video.approve`",
            approve_video,
            ErrorCode.FORBIDDEN_ROLE,
            ErrorCode.NO_PENDING_REQUEST,
            ErrorCode.LIMIT_REACHED,
            ErrorCode.PEER_RECONNECTING,
        ),
        body=VideoApprovalBody,
    ),
    _twin(
        "video-denial",
        "denyVideo",
        "Refuse the pending request for video; twin of `video.deny`",
        deny_video,
        ErrorCode.FORBIDDEN_ROLE,
        ErrorCode.NO_PENDING_REQUEST,
    ),
    _restricting(
        _twin(
            "video-revocation",
            "revokeVideo",
            "Take video back at once, both ways; twin of `video.revoke`",
            revoke_video,
        )
    ),
    _restricting(_twin("hangup", "hangUp", "Leave the call; twin of `call.hangup`", hang_up)),
    Endpoint(
        method="GET",
        path=f"{CALL}/ice-servers",
        name="iceServers",
        summary="Fresh ICE servers, before an ICE restart; twin of `call.ice_servers`",
        policy=Policy.USER,
        handler=ice_servers,
        returns=IceServersAnswer,
        errors=(ErrorCode.NOT_A_PARTICIPANT, ErrorCode.BAD_STATE, ErrorCode.CALL_ENDED),
    ),
    Endpoint(
        method="POST",
        path=f"{CALL}/feedback",
        name="giveFeedback",
        summary="Rate a call that is over; again: replaces what was said",
        policy=Policy.USER,
        handler=give_feedback,
        body=FeedbackBody,
        returns=Feedback,
        idempotent_by_key=True,
        errors=(ErrorCode.NOT_A_PARTICIPANT, ErrorCode.BAD_STATE, ErrorCode.CONFLICT),
    ),
)
