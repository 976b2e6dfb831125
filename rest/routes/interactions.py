"""`/api/v1/interactions/{call_id}`: the commands of a call that need no socket; twins of the messages."""

from typing import Any

from base.errors import ErrorCode, MinuetError
from base.ids import is_uuid
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.policies import Policy
from rest.services import RestServices

CALL = f"{API}/interactions/{{call_id}}"


class NotAParticipant(MinuetError):
    """There is no such call, or the caller is not in it: the two are not told apart."""

    code = ErrorCode.NOT_A_PARTICIPANT


async def connect(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(await services.calls.connect(_call_id(exchange), exchange.caller.user_id))


async def request_video(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(await services.calls.request_video(_call_id(exchange), exchange.caller.user_id))


def _call_id(exchange: Exchange) -> str:
    call_id = exchange.request.match_info["call_id"]
    if not is_uuid(call_id):
        raise NotAParticipant
    return call_id


ENDPOINTS = (
    Endpoint(
        method="POST",
        path=f"{CALL}/connect",
        name="connect",
        summary="Ask to stay in touch; twin of `connect.request`",
        policy=Policy.USER,
        handler=connect,
        returns=dict[str, Any],
        idempotent_by_key=True,
        errors=(
            ErrorCode.NOT_A_PARTICIPANT,
            ErrorCode.FORBIDDEN_ROLE,
            ErrorCode.BAD_STATE,
            ErrorCode.CALL_ENDED,
            ErrorCode.CONFLICT,
        ),
    ),
    Endpoint(
        method="POST",
        path=f"{CALL}/video-request",
        name="requestVideo",
        summary="Ask for video; twin of `video.request`",
        policy=Policy.USER,
        handler=request_video,
        returns=dict[str, Any],
        idempotent_by_key=True,
        errors=(
            ErrorCode.NOT_A_PARTICIPANT,
            ErrorCode.FORBIDDEN_ROLE,
            ErrorCode.BAD_STATE,
            ErrorCode.CALL_ENDED,
            ErrorCode.ALREADY_REQUESTED,
            ErrorCode.ALREADY_ALLOWED,
            ErrorCode.COOLDOWN,
            ErrorCode.LIMIT_REACHED,
            ErrorCode.PEER_RECONNECTING,
            ErrorCode.CONFLICT,
        ),
    ),
)
