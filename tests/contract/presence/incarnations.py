"""Nodes with their counts, and how they lose their leases."""

from collections.abc import Awaitable, Callable

from presence.nodes import Incarnation, NodeStats, UserState

LoseLease = Callable[[Incarnation], Awaitable[None]]
MakeNode = Callable[..., Incarnation]
STATS = NodeStats(users={UserState.IDLE: 3, UserState.IN_CALL: 2}, calls={"live": 1})
