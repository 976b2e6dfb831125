"""An endpoint as data: what it is called, who may call it, what goes in and what comes out.

The same declaration serves requests (`serving`), documents them (`openapi`) and is what the tests iterate.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
from aiohttp import web

from accounts.model import Identity
from base.errors import ErrorCode
from rest.policies import Policy
from rest.services import RestServices

API = "/api/v1"

Typed = TypeVar("Typed")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way through a handler: authenticated, admitted, validated."""

    request: web.Request
    request_id: str
    address: str
    identity: Identity | None
    body: msgspec.Struct | None
    query: msgspec.Struct | None

    @property
    def caller(self) -> Identity:
        """Who asks, on an endpoint that is not public."""
        if self.identity is None:
            raise RuntimeError("a public endpoint asked who is calling")
        return self.identity

    def typed_body(self, wanted: type[Typed]) -> Typed:
        """The body, of the type that the endpoint declares."""
        if not isinstance(self.body, wanted):
            raise RuntimeError(f"the endpoint declares another body than {wanted.__name__}")
        return self.body

    def typed_query(self, wanted: type[Typed]) -> Typed:
        """The query, of the type that the endpoint declares."""
        if not isinstance(self.query, wanted):
            raise RuntimeError(f"the endpoint declares another query than {wanted.__name__}")
        return self.query


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers; the envelope goes around it."""

    data: Any
    meta: dict[str, Any] = field(default_factory=dict)
    is_pending: bool = False
    """What was asked for is kept and not done yet: 202, and nothing that a repeated request would be answered with."""


Handler = Callable[[RestServices, Exchange], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method on one path. `returns` is the type of `data`, `meta` that of `meta` where there is one."""

    method: Method
    path: str
    name: str
    summary: str
    policy: Policy
    handler: Handler
    returns: Any
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    meta: type[msgspec.Struct] | None = None
    status: int = 200
    limit: Literal["register", "login", "refresh"] | None = None
    """A limit by address in place of the caller's tier."""
    idempotent_by_key: bool = False
    """Whether an `Idempotency-Key` header makes a repeated request answer what the first one did."""
    may_wait: bool = False
    """Whether it may answer 202: what was asked for is kept, and done later."""
    restricts: bool = False
    """Whether it only takes something away: then it is not refused because Redis is away, and may answer 202."""
    errors: tuple[ErrorCode, ...] = ()
    """What it may refuse beyond what every endpoint may."""
