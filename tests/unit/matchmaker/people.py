"""People and tickets for tests of the matchmaker: everyone fits everyone unless a test says otherwise."""

from dataclasses import dataclass, field

import msgspec

from base.ids import DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender
from matchmaker.ticket import MAX_AGE, MIN_AGE, Ticket, Wants

ANYONE = Wants(frozenset(Gender), MIN_AGE, MAX_AGE, frozenset(), frozenset())


@dataclass(frozen=True)
class Somebody:
    """A person as the server's own data knows one."""

    first_name: str = "Sam"
    gender: Gender = Gender.OTHER
    age: int = 30
    languages: tuple[str, ...] = field(default=("en",))
    region: str | None = None
    verified: bool = False
    role: str = "user"


def ticket_of(name: str, *, queued_at: int = 0, side: Gender = Gender.OTHER, **changes: object) -> Ticket:
    """The ticket of the user `name` on the one device of that user."""
    plain = Ticket(
        ticket_id=TicketId(f"ticket-{name}"),
        intent="friends",
        user_id=UserId(name),
        device_id=DeviceId(f"device-{name}"),
        session_id=SessionId(f"session-{name}"),
        node_id=NodeId("node-1"),
        queued_at=queued_at,
        side=side,
        first_name=name.title(),
        age=30,
        languages=frozenset(),
        region=None,
        verified=False,
        wants=ANYONE,
    )
    return msgspec.structs.replace(plain, **changes)


def wanting(**changes: object) -> Wants:
    """Wishes like everybody's but for `changes`."""
    return msgspec.structs.replace(ANYONE, **changes)
