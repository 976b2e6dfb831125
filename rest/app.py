"""Builds the two aiohttp apps: the API that clients use, and the port that operators' machines use."""

from collections.abc import Iterable, Mapping

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from rest.endpoints import API, Endpoint
from rest.envelope import JSON
from rest.limits import RequestLimits
from rest.metrics import ReadinessMetrics
from rest.middleware import header_adder, observe
from rest.openapi import document
from rest.policies import DECLARED, Policy, declare, refuse_undeclared
from rest.ports import Check
from rest.routes import admin, auth, connections, history, interactions, moderation, profile, safety
from rest.routes.ops import Metrics, Readiness, healthz
from rest.services import RestServices
from rest.serving import serve
from rest.settings import MAX_BODY

ENDPOINTS: tuple[Endpoint, ...] = (
    *auth.ENDPOINTS,
    *profile.ENDPOINTS,
    *history.ENDPOINTS,
    *connections.ENDPOINTS,
    *safety.ENDPOINTS,
    *interactions.ENDPOINTS,
    *admin.ENDPOINTS,
    *moderation.ENDPOINTS,
)


def build_app(services: RestServices, endpoints: Iterable[Endpoint] = ENDPOINTS) -> web.Application:
    """The app of the public port. More routes may be added, each with `policies.declare`, until it starts.

    Raises:
        RouteWithoutPolicy: now, or when the app starts, where a route was added without one.
    """
    declared = tuple(endpoints)
    origins = services.settings.allowed_origins
    app = web.Application(
        middlewares=[observe(services.clock, services.ids, services.metrics, origins)],
        client_max_size=MAX_BODY,
    )
    app[DECLARED] = {}
    limits = RequestLimits(services.limiter, services.settings.limits, services.clock, services.metrics)
    for endpoint in declared:
        handler = serve(endpoint, services, limits)
        # `add_route`, not `add_get`: HEAD on an endpoint would run it for nobody.
        declare(app, app.router.add_route(endpoint.method, endpoint.path, handler), endpoint.policy)
    declare(app, app.router.add_route("GET", "/healthz", healthz), Policy.PUBLIC)
    openapi = orjson.dumps(document(declared, services.settings.version))

    async def serve_openapi(request: web.Request) -> web.Response:
        return web.Response(body=openapi, content_type=JSON, headers={"Cache-Control": "no-cache"})

    declare(app, app.router.add_route("GET", f"{API}/openapi.json", serve_openapi), Policy.PUBLIC)
    refuse_undeclared(app)
    app.on_startup.append(_refuse_undeclared)
    app.on_response_prepare.append(header_adder(origins))
    return app


def build_admin_app(registry: CollectorRegistry, checks: Mapping[str, Check]) -> web.Application:
    """The app of `MINUET_ADMIN_PORT`: no accounts, no limits, not for the internet."""
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("GET", "/healthz", healthz)
    readiness = Readiness(checks, ReadinessMetrics(registry))
    app.router.add_route("GET", "/readyz", readiness.handle)
    app.router.add_route("GET", "/metrics", Metrics(registry, readiness).handle)
    return app


async def _refuse_undeclared(app: web.Application) -> None:
    refuse_undeclared(app)
