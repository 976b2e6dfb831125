"""What sessions come by, live under and leave by, put together."""

from dataclasses import dataclass

from minuet.wiring.foundation import Foundation
from minuet.wiring.node import Node
from presence.registry import Registry
from signaling.authentication import Authentication
from signaling.chores import Chores
from signaling.departures import Departures
from signaling.draining import Draining
from signaling.handover import Handovers
from signaling.leaving import Leaving
from signaling.opening import Opening
from signaling.reasserting import Reasserting
from signaling.regaining import Regaining
from signaling.resuming import Resuming
from signaling.returning import Returning
from signaling.rows import Rows
from signaling.session_maker import SessionMaker
from signaling.session_shell import Dispatcher, SessionShell
from signaling.sessions import Sessions
from signaling.starting import Starting
from signaling.tickets import Tickets
from signaling.welcome import SessionPolicy, Unread, Welcome


@dataclass(frozen=True, slots=True)
class Services:
    """What sessions stand on."""

    policy: SessionPolicy
    dispatcher: Dispatcher
    authentication: Authentication
    registry: Registry
    rows: Rows
    tickets: Tickets
    handovers: Handovers
    unread: Unread


class SessionSide:
    """The sessions of one hub; what is to run as long as the hub does joins the node's services."""

    def __init__(self, foundation: Foundation, node: Node, services: Services) -> None:
        hub, metrics, clock = node.hub, node.session_metrics, foundation.clock
        policy, rows, tickets = services.policy, services.rows, services.tickets
        chores = Chores()
        leaving = Leaving(node.router, services.registry, tickets, node.seating)
        regaining = Regaining(node.router, services.registry, tickets, node.seating, services.authentication)
        self.departures = Departures(hub, node.router, node.lobby, leaving, services.handovers, chores)
        shell = SessionShell(
            clock,
            policy.limits,
            services.dispatcher,
            self.departures,
            metrics,
            policy.strict,
            hub.standstill,
        )
        maker = SessionMaker(shell, foundation.ids, foundation.random)
        welcome = Welcome(policy, services.unread, clock)
        resuming = Resuming(hub, node.router, services.registry, services.handovers)
        opening = Opening(
            services.authentication,
            rows.health,
            Starting(hub, maker, rows, regaining, self.departures, welcome),
            Returning(hub, maker, resuming, regaining, self.departures, welcome),
            chores,
            metrics,
        )
        self.draining = Draining(hub, chores, clock, foundation.random)
        self.reasserting = Reasserting(hub, rows, regaining, leaving)
        self.sessions = Sessions(opening, policy, self.draining, hub.standstill, chores, metrics)
        node.services += (chores.run, hub.keep_time, tickets.check, tickets.keep_places)
