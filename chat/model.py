"""The values of chat. Pure; times are integer milliseconds since the Unix epoch."""

from dataclasses import dataclass

from base.ids import CallId, ConnectionId, UserId


@dataclass(frozen=True, slots=True)
class Peer:
    """What one sees of the person one is connected to."""

    first_name: str
    age: int
    languages: tuple[str, ...]
    verified: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """Two people want to stay in touch: the connection to be made, and the call in which they said so."""

    connection_id: ConnectionId
    user_low: UserId
    user_high: UserId
    call_id: CallId
    made_at: int

    @property
    def pair(self) -> tuple[UserId, UserId]:
        return (self.user_low, self.user_high)


@dataclass(frozen=True, slots=True)
class Made:
    """The pair's connection, for the call in which they wished for it; `is_news`: nobody has told them yet."""

    call_id: CallId
    connection_id: ConnectionId
    is_news: bool


@dataclass(frozen=True, slots=True)
class Untold:
    """A connection that both have to hear of: for each of the two, whom they are connected to."""

    connection_id: ConnectionId
    call_id: CallId
    peers: dict[UserId, Peer]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message about to be kept; `id` is made for it, in case it is new."""

    connection_id: ConnectionId
    sender_id: UserId
    id: str
    client_id: str
    body: str
    sent_at: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is kept. `number` is its place in the connection, from 1."""

    connection_id: ConnectionId
    id: str
    number: int
    sender_id: UserId
    client_id: str
    body: str
    sent_at: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a draft, and whom it is for."""

    message: Message
    other_id: UserId
    unread: int | None
    """How many messages the other has not read now; None where the message was there already."""

    @property
    def is_new(self) -> bool:
        return self.unread is not None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody has read, and how much they have not; `moved`: it was less far before."""

    up_to: int
    unread: int
    moved: bool
    other_id: UserId


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """A connection as one of the two sees it."""

    connection_id: ConnectionId
    peer_id: UserId
    peer: Peer
    made_at: int
    active_at: int
    last_message: Message | None
    unread: int
    read_up_to: int
    peer_read_up_to: int


@dataclass(frozen=True, slots=True)
class MadeConnection:
    """When one came to know somebody."""

    connection_id: ConnectionId
    call_id: CallId
    peer_id: UserId
    first_name: str
    made_at: int


def in_order(one: UserId, other: UserId) -> tuple[UserId, UserId]:
    """The two as pairs are kept: the smaller id first."""
    return (one, other) if one < other else (other, one)
