"""The form of every answer: `{success, data, meta, request_id}` or `{success, error}`."""

import math
from typing import Any

import msgspec
import orjson
from aiohttp import web

from accounts.rules import InvalidField
from base.errors import ERROR_SPECS, ErrorCode, MinuetError

JSON = "application/json"
DEFAULT_RETRY_MS = 1_000
# Answers that always say when to come back.
_TEMPORARY = frozenset({429, 503})


class Success(msgspec.Struct, frozen=True, kw_only=True):
    """What a request that was done is answered with."""

    success: bool = True
    data: Any
    meta: dict[str, Any]
    request_id: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a request that was not done is answered with."""

    success: bool = False
    error: "ErrorBody"


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is for programs, `message` for people; `details` names a field or a time to wait."""

    code: ErrorCode
    message: str
    details: dict[str, Any]
    request_id: str


_encode = msgspec.json.Encoder().encode


def success_body(data: Any, meta: dict[str, Any], request_id: str) -> bytes:
    return _encode(Success(data=data, meta=meta, request_id=request_id))


def failure(error: MinuetError, request_id: str) -> web.Response:
    """The answer to a refusal, with the headers that its status asks for."""
    status = ERROR_SPECS[error.code].status
    details: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, InvalidField):
        details["field"] = error.field
    if error.retry_after_ms is not None or status in _TEMPORARY:
        retry_after_ms = error.retry_after_ms or DEFAULT_RETRY_MS
        details["retry_after_ms"] = retry_after_ms
        headers["Retry-After"] = str(math.ceil(retry_after_ms / 1000))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="minuet"'
    return web.Response(
        status=status,
        body=failure_body(error.code, error.message, details, request_id),
        content_type=JSON,
        headers=headers,
    )


def failure_body(code: ErrorCode, message: str, details: dict[str, Any], request_id: str) -> bytes:
    return orjson.dumps(
        {
            "success": False,
            "error": {"code": code, "message": message, "details": details, "request_id": request_id},
        }
    )
