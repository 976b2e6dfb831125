"""The public port and the admin port of a hub."""

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Literal

from aiohttp import web

from accounts.profiles import Profiles
from accounts.service import Accounts
from base.clock import ServerClock
from base.errors import Unavailable
from base.policy import IntentPolicy
from matchmaker.report import QueueReports, QueuesReport
from minuet.settings import Settings
from minuet.telemetry import release
from minuet.wiring.foundation import Foundation
from minuet.wiring.hub import HubSide
from minuet.wiring.listening import Listening
from minuet.wiring.node import Node, Stores
from minuet.wiring.pages import add_pages
from minuet.wiring.turn import check_turn, turn_admins
from presence.stats import PresenceReport, PresenceStats
from rest.app import ENDPOINTS, build_admin_app, build_app
from rest.client_address import TrustedProxies, forwarded_client, subscriber
from rest.cors import AllowedOrigins
from rest.metrics import RestMetrics
from rest.middleware import request_counter
from rest.policies import Policy, declare
from rest.ports import Check
from rest.services import RestServices
from rest.settings import Limits, Rate, RestSettings
from safety.block_list import BlockList
from signaling.admission import AcceptGate, AddressLimit, Capacity
from signaling.connection import ConnectionSettings
from signaling.doorway import DOOR, Door
from signaling.feedback import Feedbacks
from signaling.handshake import UpgradeSettings
from signaling.moderation import Moderation
from signaling.session.limits import Rate as HandshakeRate
from signaling.upgrade import Admission, Entrance, websocket_handler
from storage.postgres.calls import PostgresHistory
from storage.postgres.feedback import PostgresFeedback
from storage.postgres.moderation import PostgresCases
from storage.postgres.pool import ping
from storage.postgres.reads import ReplicaReads
from storage.postgres.safety import PostgresBlockBook
from storage.redis.idempotency import RedisReplies
from storage.redis.queues import RedisQueues
from storage.redis.rate_limits import RedisRateLimiter
from storage.redis.safety import RedisSafetyLog
from storage.redis.turn_visits import RedisTurnVisits

MAX_SKEW_MS = 250
WEBSOCKET = "/v1/ws"


class Offers(Enum):
    """What a public port is for."""

    BOTH = "both"
    WEBSOCKET = "hub"
    REST = "rest"


def public_app(
    foundation: Foundation,
    node: Node,
    side: HubSide,
    accounts: Accounts,
    origins: Sequence[str],
    offers: Offers = Offers.BOTH,
) -> web.Application:
    """Pages, REST and WebSocket, or what is wanted of them; pages go with REST."""
    settings = foundation.settings
    proxies = TrustedProxies.parse(settings.trusted_proxies)
    allowed: frozenset[str] | Literal["*"] = "*" if "*" in origins else frozenset(origins)
    upgrades = UpgradeSettings(allowed_origins=allowed, connection=ConnectionSettings(census=node.sockets))
    # In the one form that origins are compared in, for the WebSocket and for foreign pages' REST alike.
    pages = AllowedOrigins(upgrades.allowed_origins)
    services = _rest_services(foundation, node, side, accounts, proxies, pages)
    app = build_app(services, () if offers is Offers.WEBSOCKET else ENDPOINTS)
    limit = AddressLimit(
        HandshakeRate(settings.handshakes_per_address_s, 2 * settings.handshakes_per_address_s),
        foundation.clock.monotonic_ms,
    )

    def admit_address(address: str) -> float | None:
        retry_after_s = limit.admit(subscriber(address))
        if retry_after_s is not None:
            node.session_metrics.turned_away("address")
        return retry_after_s

    gate = AcceptGate(
        Capacity(
            settings.max_sessions,
            HandshakeRate(settings.handshakes_per_s, 2 * settings.handshakes_per_s),
            round(settings.max_loop_lag_s * 1000),
        ),
        # Sessions without a socket, and sockets without a session yet: whichever of the two sums is larger.
        lambda: max(len(node.hub), node.sockets.open),
        node.hub.lag_ms,
        foundation.clock.monotonic_ms,
        node.session_metrics,
        foundation.random,
    )
    entrance = Entrance(
        upgrades,
        side.session_side.sessions.accept,
        lambda peer, headers: forwarded_client(peer, headers.getall("X-Forwarded-For", ()), proxies),
        Admission(address_limit=admit_address, accept_gate=gate.admit),
    )
    if offers is not Offers.REST:
        route = app.router.add_get(WEBSOCKET, websocket_handler(entrance), allow_head=False)
        declare(app, route, Policy.PUBLIC)
        app[DOOR] = Door(WEBSOCKET, entrance, request_counter(services.metrics, WEBSOCKET, "GET"))
    if offers is not Offers.WEBSOCKET:
        add_pages(app)

    async def part(request: web.Request, response: web.StreamResponse) -> None:
        # Whoever holds the connection open asks somewhere else next, before it is closed under a request.
        if node.is_leaving:
            response.force_close()

    app.on_response_prepare.append(part)
    return app


def admin_app(foundation: Foundation, node: Node) -> web.Application:
    """Health, readiness, metrics."""
    return build_admin_app(foundation.registry, _checks(foundation, node))


def own_origins(settings: Settings, listening: Listening) -> tuple[str, ...]:
    """The origins of the server's own pages, as people type them."""
    port = listening.socket.getsockname()[1]
    hosts = {settings.host, "127.0.0.1", "localhost", "[::1]"} - {"0.0.0.0", "::"}  # noqa: S104  not bound here
    return tuple(f"http://{host}:{port}" for host in sorted(hosts))


def _rest_services(
    foundation: Foundation,
    node: Node,
    side: HubSide,
    accounts: Accounts,
    proxies: TrustedProxies,
    origins: AllowedOrigins,
) -> RestServices:
    settings, redis, keys = foundation.settings, foundation.redis, foundation.keys
    stores = node.stores
    return RestServices(
        accounts=accounts,
        profiles=Profiles(stores.accounts, foundation.ids),
        history=PostgresHistory(foundation.database, reads=foundation.replica),
        calls=side.commands,
        ice=side.ice_servers,
        feedback=Feedbacks(node.calls, PostgresFeedback(foundation.database), foundation.clock),
        moderation=Moderation(PostgresCases(foundation.database), foundation.ids.new, foundation.ids.now_ms),
        chat=side.chat,
        safety=side.safety,
        block_list=BlockList(PostgresBlockBook(foundation.database), RedisSafetyLog(redis, keys)),
        watch=_Watch(foundation, stores),
        authenticator=side.authenticator,
        revocations=side.control,
        limiter=RedisRateLimiter(redis, keys),
        replies=RedisReplies(redis, keys, foundation.ids.new),
        clock=foundation.clock,
        ids=foundation.ids,
        metrics=RestMetrics(foundation.registry),
        settings=RestSettings(
            limits=_limits(settings),
            trusted_proxies=proxies,
            allowed_origins=origins,
            refuse_unknown_fields=settings.strict_messages,
            version=release(),
        ),
    )


class _Depths:
    """Queue depths of all configured intents."""

    def __init__(self, queues: RedisQueues, policies: Mapping[str, IntentPolicy]) -> None:
        self._queues = queues
        self._policies = policies

    async def depths(self) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        return {
            intent: {
                side.value: {state.name.lower(): count for state, count in states.items()}
                for side, states in (await self._queues.depths(intent)).items()
            }
            for intent in self._policies
        }


class _Watch:
    """The operators' picture, for REST."""

    def __init__(self, foundation: Foundation, stores: Stores) -> None:
        depths = _Depths(stores.queues, foundation.settings.intents)
        self._stats = PresenceStats(stores.nodes, depths, stores.calls, foundation.clock)
        self._queues = QueueReports(stores.queues, foundation.settings.intents, foundation.clock)

    async def presence(self) -> PresenceReport:
        return await self._stats.report()

    async def queues(self) -> QueuesReport:
        return await self._queues.report()


def _limits(settings: Settings) -> Limits:
    def rate(per_minute: int) -> Rate | None:
        return Rate(per_minute) if per_minute else None

    tiers = settings.rate_limits
    auth = rate(tiers.auth)
    return Limits(
        none=rate(tiers.anonymous),
        user=rate(tiers.user),
        moderator=rate(tiers.moderator),
        admin=rate(tiers.admin),
        register=auth,
        login=auth,
        refresh=auth,
    )


def _checks(foundation: Foundation, node: Node) -> dict[str, Check]:
    replica = foundation.replica
    return {
        **(
            {}
            if replica is None
            else {"replica": Check(required=False, probe=partial(_check_replica, replica))}
        ),
        "staying": Check(required=True, probe=partial(_check_staying, node)),
        "redis": Check(required=True, probe=partial(_ping_redis, foundation)),
        # Calls go on and history waits while PostgreSQL is away: no reason to send everybody elsewhere.
        "postgres": Check(required=False, probe=partial(ping, foundation.database)),
        "clock": Check(required=True, probe=partial(_check_clock, foundation.clock)),
        "lease": Check(required=True, probe=partial(_check_lease, node)),
        "bus": Check(required=True, probe=partial(_check_bus, node)),
        # All nodes put things back at once, for seconds: no reason to send everybody elsewhere either.
        "restoring": Check(required=False, probe=partial(_check_restoring, node)),
        # Without it calls still connect, but addresses show, or a dead call's relay goes on.
        "turn": Check(
            required=False,
            probe=partial(
                check_turn,
                foundation.settings,
                turn_admins(foundation.settings),
                RedisTurnVisits(foundation.redis, foundation.keys),
            ),
        ),
    }


async def _check_staying(node: Node) -> None:
    if node.is_leaving:
        raise Draining


async def _ping_redis(foundation: Foundation) -> None:
    await foundation.redis.ping()


async def _check_clock(clock: ServerClock) -> None:
    if abs(clock.skew_ms) > MAX_SKEW_MS:
        raise ClockSkewed(f"{clock.skew_ms} ms")


async def _check_lease(node: Node) -> None:
    if not node.lease.is_settled:
        raise Unavailable("the node has no lease")


async def _check_restoring(node: Node) -> None:
    if node.lease.restoring_ms() > 0:
        raise Unavailable("what the store has lost is being put back")


async def _check_bus(node: Node) -> None:
    if not node.bus.is_connected:
        raise Unavailable("the bus is not connected")


async def _check_replica(replica: ReplicaReads) -> None:
    if not replica.is_near:
        raise ReplicaNotUsed


class ReplicaNotUsed(Exception):
    """The read replica is away, or too far behind: the primary is asked instead."""


class Draining(Exception):
    """The process was told to end: it sends its people elsewhere."""


class ClockSkewed(Exception):
    """This machine's clock and the store's are too far apart."""
