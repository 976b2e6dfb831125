"""Nodes: one incarnation of a process each, and what it says of itself.

A process whose lease lapsed comes back as another incarnation, with another id: nobody can mistake what it did
before for what it does now.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from base.ids import NodeId

LEASE_TTL_MS = 4_000
RENEW_EVERY_MS = 1_000


class UserState(StrEnum):
    """What a user is doing, as operators count it."""

    IDLE = "idle"
    AWAY = "away"
    QUEUED = "queued"
    IN_CALL = "in_call"
    RECONNECTING = "reconnecting"


@dataclass(frozen=True, slots=True)
class NodeStats:
    """A node's count of its own: live sessions by what their user does here, and the calls it holds by state."""

    users: Mapping[UserState, int] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A living incarnation. Times are Unix milliseconds on the store's clock."""

    node_id: NodeId
    role: str
    started_at: int
    renewed_at: int
    stats: NodeStats


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer to asking for the lease: whether we hold it now, and the store's time."""

    held: bool
    store_ms: int


@dataclass(frozen=True, slots=True)
class Incarnation:
    """What a lease says: who, doing what, since when (Unix ms on the store's clock)."""

    node_id: NodeId
    role: str
    started_at: int
