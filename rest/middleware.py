"""What surrounds every request: its id, its log line, its numbers, its safe headers, and the last word on errors.

The one place of REST that catches broadly: whatever a handler did not foresee is logged with its traceback and
answered as an opaque `internal`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Counter

from base.clock import Clock
from base.errors import ErrorCode, MinuetError
from base.ids import IdFactory
from rest.cors import AllowedOrigins, add_cors_headers, is_preflight, preflight
from rest.envelope import JSON, failure, failure_body
from rest.limits import LIMIT_HEADERS
from rest.metrics import RestMetrics
from rest.policies import route_path

log = structlog.get_logger(__name__)

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_EVERYWHERE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_API_CSP: Final = "default-src 'none'; frame-ancestors 'none'"
# Pages of ours: everything from this origin, sounds and pictures also from the page itself. A handler that needs
# more sets its own header.
_PAGE_CSP: Final = (
    "default-src 'self'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:;"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGE_FEATURES: Final = "microphone=(self), camera=(self), geolocation=(), payment=(), usb=()"


def observe(
    clock: Clock, ids: IdFactory, metrics: RestMetrics, allowed_origins: AllowedOrigins
) -> Middleware:
    """The outermost middleware."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = _request_id(request, ids)
        request[REQUEST_ID] = request_id
        route = route_path(request.match_info.route)
        started_ms = clock.monotonic_ms()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if is_preflight(request):
                response: web.StreamResponse = preflight(request, allowed_origins)
            else:
                response = await _answer(request, handler, request_id)
            took_ms = clock.monotonic_ms() - started_ms
            # Methods are free text: only known ones may become labels.
            method = request.method if request.method in _METHODS else "OTHER"
            metrics.requests.labels(route, method, response.status).inc()
            metrics.seconds.labels(route).observe(took_ms / 1000)
            log.info("request", route=route, method=method, status=response.status, ms=took_ms)
        return response

    return middleware


def request_counter(metrics: RestMetrics, route: str, method: str) -> Callable[[int], None]:
    """For what is answered at once, before the middlewares: its line in the log and its numbers are the same."""
    seconds = metrics.seconds.labels(route)
    by_status: dict[int, Counter] = {}

    def answered(status: int) -> None:
        counter = by_status.get(status)
        if counter is None:
            counter = by_status[status] = metrics.requests.labels(route, method, int(status))
        counter.inc()
        seconds.observe(0)
        log.info("request", route=route, method=method, status=int(status), ms=0)

    return answered


async def _answer(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    try:
        return await handler(request)
    except MinuetError as error:
        if error.code is ErrorCode.INTERNAL:
            log.exception("request_failed")
        else:
            log.debug("request_refused", code=error.code.value, message=error.message)
        return failure(error, request_id)
    except web.HTTPException as error:
        return _http_refusal(error, request_id)
    except Exception:
        # Broad: the boundary of a request. What is our fault is told to the log, and to the client only that it is.
        log.exception("request_failed")
        return failure(MinuetError(), request_id)


def _http_refusal(error: web.HTTPException, request_id: str) -> web.StreamResponse:
    """What aiohttp itself refuses (no such path or method, too large), in our envelope. Redirects stay redirects."""
    if error.status < 400:
        return web.Response(status=error.status, headers=error.headers)
    if error.status == 413:
        return failure(MinuetError(code=ErrorCode.PAYLOAD_TOO_LARGE), request_id)
    if error.status not in (404, 405):
        return failure(MinuetError(error.reason, code=ErrorCode.INVALID_MESSAGE), request_id)
    body = failure_body(ErrorCode.NOT_FOUND, "There is no such resource.", {}, request_id)
    response = web.Response(status=error.status, body=body, content_type=JSON)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _request_id(request: web.Request, ids: IdFactory) -> str:
    given = request.headers.get("X-Request-ID", "")
    # Taken only when it is harmless wherever it will be printed.
    return given if _SANE_ID.fullmatch(given) else ids.new()


def header_adder(
    allowed_origins: AllowedOrigins,
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """For `on_response_prepare`: only then does a file know its content type."""

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        _add_safe_headers(request, response)
        add_cors_headers(request, response, allowed_origins)

    return add_headers


def _add_safe_headers(request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    if REQUEST_ID in request:
        headers["X-Request-ID"] = request[REQUEST_ID]
    for name, value in _EVERYWHERE.items():
        headers.setdefault(name, value)
    if response.content_type == "text/html":
        headers.setdefault("Content-Security-Policy", _PAGE_CSP)
        headers.setdefault("Permissions-Policy", _PAGE_FEATURES)
    elif response.content_type == JSON:
        headers.setdefault("Content-Security-Policy", _API_CSP)
        headers.setdefault("Cache-Control", "no-store")
    if LIMIT_HEADERS in request:
        headers.update(request[LIMIT_HEADERS])
