"""Takes a request through an endpoint: who asks, may they, how often, with what; then the handler.

The order is deliberate. A caller is charged before anything is done for them; the body is read last, so that nobody
makes us read 64 kB for a request that is refused anyway.
"""

from functools import partial

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler as AioHandler

from accounts.model import Identity
from accounts.rules import InvalidField
from accounts.tokens import Unauthenticated
from base.errors import Unavailable
from rest.auth import identify, refuse_forbidden, refuse_revoked
from rest.client_address import client_address
from rest.endpoints import Endpoint, Exchange
from rest.envelope import success_body
from rest.idempotency import Answer, key_of, respond, run_once
from rest.limits import RequestLimits
from rest.middleware import REQUEST_ID
from rest.policies import Policy
from rest.services import RestServices
from rest.validation import convert, read_json, unknown_fields

# What is asked for is kept and will be done.
ACCEPTED = 202


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
        run = partial(_run, endpoint, services, exchange)
        key = None if identity is None else key_of(request, endpoint, identity.user_id)
        if key is None:
            return respond(await run())
        return await run_once(key, services.replies, endpoint, exchange, run)

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
    try:
        await refuse_revoked(identity, services.revocations)
    except Unavailable:
        # Nobody can tell just now. Hanging up must work all the same, and gives nothing to whoever should not be here.
        if not endpoint.restricts:
            raise
        services.metrics.revocation_unchecked.inc()
    refuse_forbidden(endpoint.policy, identity)
    return identity


async def _run(endpoint: Endpoint, services: RestServices, exchange: Exchange) -> Answer:
    reply = await endpoint.handler(services, exchange)
    body = success_body(reply.data, reply.meta, exchange.request_id)
    return Answer(ACCEPTED if reply.is_pending else endpoint.status, body, is_final=not reply.is_pending)


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
