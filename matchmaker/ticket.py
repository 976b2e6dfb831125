"""The ticket: who waits, what they are, whom they want to meet.

Decides what a person's preferences mean under an intent's pairing rule. Refuses to take a person's own
attributes from the client: they come from the server's data, as a `Person`.
"""

from collections.abc import Iterable
from typing import Annotated, Protocol

import msgspec

from base.errors import ErrorCode, MinuetError
from base.ids import DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender, Pairing

MIN_AGE = 18
MAX_AGE = 120

Age = Annotated[int, msgspec.Meta(ge=MIN_AGE, le=MAX_AGE)]
Language = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=16)]
Patience = Annotated[int, msgspec.Meta(ge=0, le=86_400)]
Region = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+$", max_length=32)]


class Preferences(msgspec.Struct, frozen=True):
    """Whom a person asks to meet; empty lists ask for nothing in particular."""

    sides: Annotated[tuple[Gender, ...], msgspec.Meta(max_length=3)] = ()
    age_min: Age = MIN_AGE
    age_max: Age = MAX_AGE
    languages: Annotated[tuple[Language, ...], msgspec.Meta(max_length=16)] = ()
    regions: Annotated[tuple[Region, ...], msgspec.Meta(max_length=16)] = ()
    patience_s: Patience = 0
    """For how long the person means to wait, if they know; 0 if they do not. The ticket is given up then."""

    def __post_init__(self) -> None:
        if self.age_min > self.age_max:
            raise ValueError("age_min is above age_max")


class Person(Protocol):
    """What the server itself knows about somebody who joins a queue."""

    @property
    def first_name(self) -> str: ...
    @property
    def gender(self) -> Gender: ...
    @property
    def age(self) -> int: ...
    @property
    def languages(self) -> Iterable[str]: ...
    @property
    def region(self) -> str | None: ...
    @property
    def verified(self) -> bool: ...
    @property
    def role(self) -> str: ...


class Wants(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whom a ticket accepts, before anything is relaxed; empty sets accept any language or region."""

    sides: frozenset[Gender]
    age_min: int
    age_max: int
    languages: frozenset[str]
    regions: frozenset[str]


class Ticket(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One person's place in one pool; `queued_at` (Unix ms) is the seniority and never changes.

    Without cycles, and so without the garbage collector, which would look at each of a large pool again and again.
    """

    ticket_id: TicketId
    intent: str
    user_id: UserId
    device_id: DeviceId
    session_id: SessionId
    node_id: NodeId
    queued_at: int
    side: Gender
    first_name: str
    age: int
    languages: frozenset[str]
    region: str | None
    verified: bool
    wants: Wants
    exclusions: frozenset[UserId] = frozenset()
    """Who waits in an index has them packed: all that can be asked then is who is among them (`matchmaker.packed`)."""
    met: frozenset[UserId] = frozenset()
    """Partners of late who are not excluded any more, but come last."""
    ahead_ms: int = 0
    """The policy's priority: as many milliseconds as if waited already."""
    leaves_at: int = 0
    """When the person will have had enough, Unix ms; 0 if they did not say."""

    @property
    def seniority(self) -> tuple[int, str]:
        """Sorts tickets by who waits longest; the id settles ties."""
        return (self.queued_at, self.ticket_id)

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts tickets by whose turn it is: by seniority, priority counted in."""
        return (self.queued_at - self.ahead_ms, self.ticket_id)


def wanted_sides(side: Gender, asked: Iterable[Gender], pairing: Pairing) -> frozenset[Gender]:
    """The sides a person meets: in dating, women and men meet each other, and `other` whoever both ask for.

    Raises:
        MinuetError: `invalid_message`, where what was asked leaves nobody to meet.
    """
    sides = frozenset(asked)
    if pairing is Pairing.ANYONE or side is Gender.OTHER:
        return sides or frozenset(Gender)
    opposite = Gender.MALE if side is Gender.FEMALE else Gender.FEMALE
    allowed = frozenset((opposite, Gender.OTHER))
    # `other` only where it is asked for: nobody is shown to people they did not ask to meet.
    wanted = sides & allowed if sides else frozenset((opposite,))
    if not wanted:
        raise MinuetError("preferences.sides: nobody is left to meet", code=ErrorCode.INVALID_MESSAGE)
    return wanted


def wants_of(person: Person, preferences: Preferences, pairing: Pairing) -> Wants:
    """What a person's ticket accepts; who names no language wishes for one of their own."""
    return Wants(
        sides=wanted_sides(person.gender, preferences.sides, pairing),
        age_min=preferences.age_min,
        age_max=preferences.age_max,
        languages=frozenset(preferences.languages or person.languages),
        regions=frozenset(preferences.regions),
    )


# Sets in a fixed order: the same ticket put again by another process must not look changed.
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Ticket)


def encode_ticket(ticket: Ticket) -> bytes:
    """The stored form of a ticket (MessagePack); equal tickets are stored alike."""
    return _encoder.encode(ticket)


def decode_ticket(data: bytes) -> Ticket:
    """The ticket that `encode_ticket` stored.

    Raises:
        msgspec.DecodeError: the bytes are no ticket of this version.
    """
    return _decoder.decode(data)
