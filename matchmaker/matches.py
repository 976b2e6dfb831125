"""A match: two tickets that were claimed for one call, and how far they are on the way into it.

Plain values that travel between processes as MessagePack. Seat `a` is whoever waited longer.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import msgspec

from base.ids import CallId, DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender
from matchmaker.ticket import Ticket

Seat = Literal["a", "b"]
SEATS: tuple[Seat, Seat] = ("a", "b")


class MatchedSeat(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a match: where it is, which ticket it came with, what the other may be shown."""

    user_id: UserId
    device_id: DeviceId
    session_id: SessionId
    node_id: NodeId
    ticket_id: TicketId
    queued_at: int
    gender: Gender
    first_name: str
    age: int
    languages: tuple[str, ...]
    verified: bool


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Two people and the id of the call that is theirs; `claimed_at_ms` is on Redis' clock."""

    call_id: CallId
    intent: str
    claimed_at_ms: int
    a: MatchedSeat
    b: MatchedSeat

    def seat(self, seat: Seat) -> MatchedSeat:
        return self.a if seat == "a" else self.b

    def peer(self, seat: Seat) -> MatchedSeat:
        return self.b if seat == "a" else self.a

    def ref(self, seat: Seat) -> "SeatRef":
        """What `Lobby.release` needs to know of one side."""
        mine = self.seat(seat)
        return SeatRef(
            intent=self.intent,
            call_id=self.call_id,
            seat=seat,
            user_id=mine.user_id,
            peer_id=self.peer(seat).user_id,
            ticket_id=mine.ticket_id,
        )


class SeatRef(msgspec.Struct, frozen=True, kw_only=True):
    """Names one side of a match or call, with the ticket that it came from."""

    intent: str
    call_id: CallId
    seat: Seat
    user_id: UserId
    peer_id: UserId
    ticket_id: TicketId


class Progress(StrEnum):
    """How far one side of a match is, as stored."""

    ANNOUNCED = "-"
    ACKNOWLEDGED = "k"
    RESOLVED = "r"


@dataclass(frozen=True, slots=True)
class MatchRecord:
    """A match as its pool keeps it until the call is live or both tickets are resolved."""

    match: Match
    a: Progress
    b: Progress

    def progress(self, seat: Seat) -> Progress:
        return self.a if seat == "a" else self.b

    def seats_at(self, progress: Progress) -> tuple[Seat, ...]:
        return tuple(seat for seat in SEATS if self.progress(seat) is progress)


def seated(ticket: Ticket) -> MatchedSeat:
    """The side of a match that a ticket becomes."""
    return MatchedSeat(
        user_id=ticket.user_id,
        device_id=ticket.device_id,
        session_id=ticket.session_id,
        node_id=ticket.node_id,
        ticket_id=ticket.ticket_id,
        queued_at=ticket.queued_at,
        gender=ticket.side,
        first_name=ticket.first_name,
        age=ticket.age,
        languages=tuple(sorted(ticket.languages)),
        verified=ticket.verified,
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Match)


def encode_match(match: Match) -> bytes:
    """The form in which a match is stored and travels (MessagePack)."""
    return _encoder.encode(match)


def decode_match(data: bytes) -> Match:
    """The match that `encode_match` made.

    Raises:
        msgspec.DecodeError: the bytes are no match of this version.
    """
    return _decoder.decode(data)
