"""Joining: what somebody asks for who wants to meet somebody, the ticket that they get, and how it may stand."""

from dataclasses import dataclass
from enum import Enum, auto

from base.ids import DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import IntentPolicy
from matchmaker.pools import TicketState
from matchmaker.slots import Caller, Taken
from matchmaker.ticket import Person, Preferences, Ticket, Wants


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Somebody wants to meet somebody."""

    user_id: UserId
    device_id: DeviceId
    session_id: SessionId
    node_id: NodeId
    intent: str
    preferences: Preferences
    person: Person
    generation: int | None = None
    """That of the session's row, which the user's slot has to have; None where that is not known."""

    @property
    def caller(self) -> Caller:
        if self.generation is None:
            return Caller(self.device_id)
        return Caller(self.device_id, self.session_id, self.generation)


@dataclass(frozen=True, slots=True)
class Joined:
    """A place in the queue. The hub keeps `ticket`: it is what `pause`, `resume` and `verify` are about."""

    ticket: Ticket
    already: bool
    """The user was in this queue before; the ticket and its seniority are the old ones."""

    @property
    def ticket_id(self) -> TicketId:
        return self.ticket.ticket_id

    @property
    def queued_at(self) -> int:
        return self.ticket.queued_at


class Standing(Enum):
    """Where a ticket stands after it was looked after."""

    WAITING = auto()
    PAUSED = auto()
    MATCHED = auto()
    RESTORED = auto()
    """It was missing and waits again, at its place."""
    LEFT = auto()
    """The user is not in the queue with this ticket; the client is to be told so."""


STANDINGS = {
    TicketState.WAITING: Standing.WAITING,
    TicketState.PAUSED: Standing.PAUSED,
    TicketState.MATCHED: Standing.MATCHED,
    TicketState.ABSENT: Standing.LEFT,
}


def ticket_for(
    request: JoinRequest, wants: Wants, taken: Taken, ticket_id: TicketId, policy: IntentPolicy
) -> Ticket:
    """The ticket of somebody who has taken their slot for it, and whom it accepts."""
    person, queued_at = request.person, taken.slot.queued_at
    return Ticket(
        ticket_id=ticket_id,
        intent=request.intent,
        user_id=request.user_id,
        device_id=request.device_id,
        session_id=request.session_id,
        node_id=request.node_id,
        queued_at=queued_at,
        side=person.gender,
        first_name=person.first_name,
        age=person.age,
        languages=frozenset(person.languages),
        region=person.region,
        verified=person.verified,
        wants=wants,
        exclusions=taken.exclusions,
        met=taken.met,
        ahead_ms=_ahead_ms(person, policy),
        leaves_at=_leaves_at(request.preferences, queued_at),
    )


def _ahead_ms(person: Person, policy: IntentPolicy) -> int:
    """The highest priority that somebody has, as milliseconds of waiting."""
    names = (person.role, "verified") if person.verified else (person.role,)
    return round(max(policy.priority_s.get(name, 0.0) for name in names) * 1000)


def _leaves_at(preferences: Preferences, queued_at: int) -> int:
    return queued_at + preferences.patience_s * 1000 if preferences.patience_s else 0
