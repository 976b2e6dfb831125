"""Who may use a route. Every route of the app declares it; one that does not keeps the app from being built.

Pure but for the app that the declarations are kept in.
"""

from enum import StrEnum
from typing import TypeVar

from aiohttp import web

from accounts.model import Role


class Policy(StrEnum):
    """The least a caller has to be."""

    PUBLIC = "public"
    USER = "user"
    MODERATOR = "moderator"
    ADMIN = "admin"
    SERVICE = "service"


PEOPLE = frozenset({Role.USER, Role.MODERATOR, Role.ADMIN})

# None: nobody is asked who they are. A service is no person: it has no profile and is in no call.
ALLOWED: dict[Policy, frozenset[Role] | None] = {
    Policy.PUBLIC: None,
    Policy.USER: PEOPLE,
    Policy.MODERATOR: frozenset({Role.MODERATOR, Role.ADMIN}),
    Policy.ADMIN: frozenset({Role.ADMIN}),
    Policy.SERVICE: frozenset({Role.SERVICE}),
}

DECLARED: web.AppKey[dict[web.AbstractRoute, Policy]] = web.AppKey("declared_policies", dict)

AnyRoute = TypeVar("AnyRoute", bound=web.AbstractRoute)


class RouteWithoutPolicy(RuntimeError):
    """A route was added to the app and nobody said who may use it."""


def declare(app: web.Application, route: AnyRoute, policy: Policy) -> AnyRoute:
    """Say who may use a route. Endpoints are held to it; a handler added by hand has to see to it itself."""
    app[DECLARED][route] = policy
    return route


def declare_resource(app: web.Application, resource: web.AbstractResource, policy: Policy) -> None:
    """Say who may use every route of a resource, e.g. of `add_static`."""
    for route in resource:
        declare(app, route, policy)


def refuse_undeclared(app: web.Application) -> None:
    """Return when every route of the app has a policy.

    Raises:
        RouteWithoutPolicy: naming those that have none.
    """
    missing = [route for route in app.router.routes() if route not in app[DECLARED]]
    if missing:
        names = ", ".join(f"{route.method} {route_path(route)}" for route in missing)
        raise RouteWithoutPolicy(f"no policy is declared for {names}")


def route_path(route: web.AbstractRoute) -> str:
    """The path as it was registered, with its parameters' names: what metrics and logs may name."""
    return route.resource.canonical if route.resource is not None else "unmatched"
