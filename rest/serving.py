"""Takes a request through an endpoint: who asks, may they, how often, with what; then the handler.

The order is deliberate. A caller is charged before anything is done for them; the body is read last, so that nobody
makes us read 64 kB for a request that is refused anyway.
"""

import hashlib
import re

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler as AioHandler

from accounts.model import Identity
from accounts.rules import InvalidField
from accounts.tokens import Unauthenticated
from base.errors import ErrorCode, MinuetError
from rest.auth import identify, refuse_forbidden, refuse_revoked
from rest.client_address import client_address
from rest.endpoints import Endpoint, Exchange
from rest.envelope import JSON, success_body
from rest.limits import RequestLimits
from rest.middleware import REQUEST_ID
from rest.policies import Policy
from rest.ports import StoredReply
from rest.services import RestServices
from rest.validation import convert, read_json, unknown_fields

# Any printable ASCII; what it means is the client's business.
_KEY = re.compile(r"[!-~]{1,128}")


class KeyReused(MinuetError):
    """The idempotency key belongs to another request."""

    code = ErrorCode.CONFLICT


def serve(endpoint: Endpoint, services: RestServices, limits: RequestLimits) -> AioHandler:
    """The aiohttp handler of an endpoint."""

    async def handle(request: web.Request) -> web.StreamResponse:
        address = client_address(request, services.settings.trusted_proxies)
        identity = await _admit(endpoint, request, address, services, limits)
        exchange = Exchange(
            request=request,
            request_id=request[REQUEST_ID],
            address=address,
            identity=identity,
            body=None if endpoint.body is None else await _body(endpoint.body, request, services),
            query=None if endpoint.query is None else _query(endpoint.query, request, services),
        )
        key = request.headers.get("Idempotency-Key") if endpoint.idempotent_by_key else None
        if key is None or identity is None:
            return _json(endpoint.status, await _run(endpoint, services, exchange))
        return await _run_once(endpoint, services, exchange, key)

    return handle


async def _admit(
    endpoint: Endpoint, request: web.Request, address: str, services: RestServices, limits: RequestLimits
) -> Identity | None:
    if endpoint.policy is Policy.PUBLIC:
        await limits.charge_address(request, address, endpoint.limit or "none")
        return None
    try:
        identity = identify(request, services.authenticator, services.ids.now_ms())
    except Unauthenticated:
        # Trying tokens is charged to the address. An expired one is not: behind one address many phones wake up.
        await limits.charge_address(request, address)
        raise
    structlog.contextvars.bind_contextvars(user_id=identity.user_id)
    await limits.charge_caller(request, identity)
    await refuse_revoked(identity, services.revocations)
    refuse_forbidden(endpoint.policy, identity)
    return identity


async def _run(endpoint: Endpoint, services: RestServices, exchange: Exchange) -> bytes:
    reply = await endpoint.handler(services, exchange)
    return success_body(reply.data, reply.meta, exchange.request_id)


async def _run_once(
    endpoint: Endpoint, services: RestServices, exchange: Exchange, key: str
) -> web.StreamResponse:
    """Answer a repeated request with the first one's answer. Only successes are kept: a refusal changed nothing."""
    if not _KEY.fullmatch(key):
        raise InvalidField("Idempotency-Key", "must be 1 to 128 printable ASCII characters")
    user_id = exchange.caller.user_id
    fingerprint = _fingerprint(exchange)
    known = await services.replies.begin(user_id, key, fingerprint)
    if known is not None:
        if known.fingerprint != fingerprint:
            raise KeyReused("This Idempotency-Key was used for another request.")
        return _json(known.status, known.body, {"Idempotency-Replayed": "true"})
    try:
        body = await _run(endpoint, services, exchange)
    except BaseException:
        await services.replies.abandon(user_id, key)
        raise
    await services.replies.finish(user_id, key, StoredReply(fingerprint, endpoint.status, body))
    return _json(endpoint.status, body)


def _fingerprint(exchange: Exchange) -> str:
    digest = hashlib.sha256(f"{exchange.request.method} {exchange.request.path}\n".encode())
    if exchange.body is not None:
        digest.update(msgspec.json.encode(exchange.body))
    return digest.hexdigest()[:32]


async def _body(wanted: type[msgspec.Struct], request: web.Request, services: RestServices) -> msgspec.Struct:
    given = await read_json(request)
    _check_unknown(list(given), wanted, services)
    return convert(given, wanted)


def _query(wanted: type[msgspec.Struct], request: web.Request, services: RestServices) -> msgspec.Struct:
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise InvalidField(name, "is given more than once")
        given[name] = value
    _check_unknown(list(given), wanted, services)
    return convert(given, wanted, from_text=True)


def _check_unknown(given: list[str], wanted: type[msgspec.Struct], services: RestServices) -> None:
    names = unknown_fields(given, wanted)
    if not names:
        return
    services.metrics.unknown_fields.inc(len(names))
    if services.settings.refuse_unknown_fields:
        raise InvalidField(names[0][:64], "is not known here")


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, content_type=JSON, headers=headers)
