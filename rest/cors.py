"""Which foreign pages may use the API (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol).

The same origins whose pages may open a WebSocket. Tokens travel in a header that only scripts can set, never in
cookies, so credentials are not allowed and a foreign page has nothing to ride on.
"""

from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

PREFIX: Final = "/api/"
_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, X-Request-ID"
_ANSWER_HEADERS: Final = "X-Request-ID, Retry-After, Idempotency-Replayed, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
_MAX_AGE_S: Final = "600"


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """Origins such as `https://app.example`, exactly as browsers send them; `*` for all, none by default."""

    origins: frozenset[str] | Literal["*"] = frozenset()

    def allow(self, origin: str | None) -> bool:
        return origin is not None and (self.origins == "*" or origin.lower() in self.origins)


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks beforehand, on behalf of a page."""
    return (
        request.method == "OPTIONS"
        and request.path.startswith(PREFIX)
        and "Origin" in request.headers
        and "Access-Control-Request-Method" in request.headers
    )


def preflight(request: web.Request, allowed: AllowedOrigins) -> web.Response:
    """The answer to a preflight. To an origin that is not allowed it says nothing, which the browser takes as no."""
    response = web.Response(status=204)
    if allowed.allow(request.headers.get("Origin")):
        response.headers["Access-Control-Allow-Methods"] = _METHODS
        response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = _MAX_AGE_S
    return response


def add_cors_headers(request: web.Request, response: web.StreamResponse, allowed: AllowedOrigins) -> None:
    """Let an allowed page read an answer of the API, errors included."""
    if not allowed.origins or not request.path.startswith(PREFIX):
        return
    # A cache must not hand one origin's answer to another.
    response.headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin is not None and allowed.allow(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _ANSWER_HEADERS
