"""A hub: sessions, their messages and what arrives for them, on top of a node."""

from dataclasses import dataclass
from functools import partial

from accounts.directory import Directory
from accounts.keys import KeyRing
from accounts.tokens import CLOCK_SKEW_MS, Authenticator, TokenScope
from minuet.settings import require
from minuet.turn import relay_ranges
from minuet.wiring.chat import ChatPart
from minuet.wiring.foundation import Foundation
from minuet.wiring.node import Node
from minuet.wiring.sessions import Services, SessionSide
from presence.registry import Registry
from safety.metrics import SafetyMetrics
from safety.service import Safety
from signaling.arrivals import Arrivals
from signaling.authentication import Authentication
from signaling.control import Control
from signaling.dispatch.call import CallCommands
from signaling.dispatch.dispatcher import Commands, MessageDispatcher
from signaling.dispatch.ice import IceServersCommand
from signaling.dispatch.presence import PresenceCommands
from signaling.dispatch.queue import QueueCommands
from signaling.dispatch.safety import SafetyCommands
from signaling.early_relays import EarlyRelays
from signaling.handover import Handovers
from signaling.inbox import Inbox
from signaling.links import Links
from signaling.metrics import HandoverMetrics, LinkMetrics, RevocationMetrics
from signaling.moving_calls import MovingCalls
from signaling.node_frames import SessionTaken
from signaling.owed_commands import OwedCommands
from signaling.queue_status import QueueStatuses
from signaling.relays import Relays
from signaling.restoring import Restoration
from signaling.rows import Rows
from signaling.session.limits import SessionLimits
from signaling.tickets import Tickets
from signaling.versions import LeastVersions
from signaling.welcome import SessionPolicy
from storage.postgres.calls import PostgresHistory
from storage.postgres.safety import PostgresSafety
from storage.redis.presence import RedisSessions
from storage.redis.safety import RedisSafetyLog


@dataclass(frozen=True, slots=True)
class Tokens:
    """Keys and names of access tokens."""

    ring: KeyRing
    scope: TokenScope


def open_tokens(foundation: Foundation) -> Tokens:
    """Raises: InvalidSettings without a secret."""
    settings = foundation.settings
    require(settings, "auth_secret")
    return Tokens(
        KeyRing.parse(str(settings.auth_secret)), TokenScope(settings.auth_issuer, settings.auth_audience)
    )


class HubSide:
    """What makes a node a hub; it joins the node's services."""

    def __init__(
        self,
        foundation: Foundation,
        node: Node,
        tokens: Tokens,
        chat: ChatPart,
        limits: SessionLimits | None = None,
    ) -> None:
        settings, clock, ids = foundation.settings, foundation.clock, foundation.ids
        stores = node.stores
        self.authenticator = Authenticator(tokens.ring, tokens.scope)
        self.control = Control(
            node.hub,
            stores.revocations,
            stores.accounts,
            clock,
            node.lease,
            token_life_ms=settings.access_token_s * 1000 + CLOCK_SKEW_MS,
        )
        revocations = RevocationMetrics(foundation.registry)
        self.control.acted = revocations.seconds.observe
        revocations.unread.set_function(self.control.unread_s)
        authentication = Authentication(self.authenticator, self.control, clock)
        relays = Relays(
            node.local, node.router, clock, node.call_metrics, node.calls.watch, relay_ranges(settings)
        )
        node.calls.watch.expire_offers = relays.expire
        safety = Safety(
            RedisSafetyLog(foundation.redis, foundation.keys),
            PostgresSafety(foundation.database),
            ids.new,
            SafetyMetrics(foundation.registry),
        )
        node.lobby.make_sure_of_blocks = safety.make_sure_of_blocks
        owed = OwedCommands(node.calls, clock)
        self.commands = CallCommands(node.calls, node.local, owed, chat.connecting, ids)
        self.chat = chat.commands
        self.safety = SafetyCommands(
            safety,
            node.calls,
            PostgresHistory(foundation.database),
            chat.commands,
            stores.activities,
            clock,
        )
        self.ice_servers = IceServersCommand(node.calls, node.ice, clock)
        directory = Directory(stores.accounts, clock.wall_ms)
        registry = Registry(
            RedisSessions(foundation.redis, foundation.keys),
            stores.nodes,
            restore_blocks=safety.restore_blocks,
        )
        registry.supersede = lambda row, generation: node.router.forward(
            row.node_id, SessionTaken(row.session_id, generation)
        )
        registry.make_sure = self.control.make_sure
        rows = Rows(registry, node.router, node.lease)
        tickets = Tickets(node.hub, node.router, node.lobby, settings.intents, clock, rows)
        presence = PresenceCommands(tickets, registry, node.router)
        dispatcher = MessageDispatcher(
            relays,
            authentication,
            Commands(
                queue=QueueCommands(node.lobby, node.seating, directory, presence, rows, clock),
                calls=self.commands,
                ice=self.ice_servers,
                safety=self.safety,
                presence=presence,
                chat=chat.commands,
            ),
        )
        handovers = Handovers(
            node.hub,
            node.router,
            clock,
            MovingCalls(node.hub, node.local, node.calls, clock),
            watches=chat.watches,
            metrics=HandoverMetrics(foundation.registry),
        )
        self.session_side = SessionSide(
            foundation,
            node,
            Services(
                policy=SessionPolicy(
                    limits or SessionLimits(),
                    tuple(settings.intents),
                    settings.strict_messages,
                    LeastVersions(settings.least_client_versions),
                ),
                dispatcher=dispatcher,
                authentication=authentication,
                registry=registry,
                rows=rows,
                tickets=tickets,
                handovers=handovers,
                unread=chat.service.unread,
            ),
        )
        self.session_side.draining.owes = lambda: node.calls.owes() or len(owed) > 0
        arrivals = Arrivals(
            node.hub, node.router, node.calls, node.lobby, settings.intents, clock, rows, node.seating
        )
        restoration = Restoration(node.hub, rows, tickets, node.lobby, node.calls.vouching, node.seating)
        restoration.count = lambda kind, number: node.presence_metrics.put_back.labels(kind).inc(number)
        restoration.random = foundation.random
        restoration.blocks = safety.restore_blocks_of
        node.calls.upholding.doubt = node.lease.doubt
        node.calls.restoring = node.lobby.restoring_ms = node.lease.restoring_ms
        self.control.rebuilt = partial(restoration.count, "revocation")
        # First, and without waiting: from then on nobody is let in by what the store says of sign-outs.
        node.lease.on_loss(self.control.forget)
        node.lease.on_loss(restoration.run)
        inbox = Inbox(
            arrivals,
            node.calls,
            EarlyRelays(node.calls, node.local, relays, self.session_side.departures.run_soon),
            self.session_side.departures,
            handovers=handovers,
            courier=chat.courier,
            watches=chat.watches,
        )
        node.receive = node.hub.standstill.guard(inbox.receive)
        node.returned = self.session_side.reasserting.run
        links = Links(
            node.calls, node.local, node.router, LinkMetrics(foundation.registry), foundation.random
        )
        node.bus.on_gap(links.lost)
        node.lease.on_incarnation(links.reincarnated)
        node.lease.on_loss(links.put_back)
        node.services += (
            arrivals.run,
            self.control.watch,
            safety.run,
            owed.run,
            chat.watches.run,
            links.run,
        )
        node.services.append(QueueStatuses(node.hub, stores.queues, clock).run)
        node.services.append(partial(node.hub.standstill.run, node.look_again))
