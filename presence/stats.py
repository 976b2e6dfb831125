"""The operators' picture: who is here, who waits, who talks.

Every number is counted anew for each report, from the living nodes' own counts, the pools and the calls: nothing is
kept that could drift from the truth.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec

from base.clock import ServerClock
from base.ids import NodeId
from presence.nodes import NodeInfo, UserState
from presence.ports import CallCounts, Nodes, PoolDepths


class UserCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Live sessions by what their user does; somebody with two devices, idle on both, counts twice."""

    online: int
    idle: int
    away: int
    """Here, but not to be matched for the moment, with a place in a queue or without."""
    queued: int
    in_call: int
    reconnecting: int


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A living node. Times are Unix milliseconds; `users` counts this node's sessions by state."""

    node_id: NodeId
    role: str
    started_at: int
    renewed_at: int
    users: dict[str, int]
    calls: dict[str, int]


class PresenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """`queues` counts tickets by intent, side and state; `calls` counts calls by state; `at` is Unix milliseconds."""

    users: UserCounts
    queues: Mapping[str, Mapping[str, Mapping[str, int]]]
    calls: Mapping[str, int]
    nodes: list[NodeReport]
    at: int


class PresenceStats:
    """Makes reports."""

    def __init__(self, nodes: Nodes, pools: PoolDepths, calls: CallCounts, clock: ServerClock) -> None:
        self._nodes = nodes
        self._pools = pools
        self._calls = calls
        self._clock = clock

    async def report(self) -> PresenceReport:
        """The picture of this moment.

        Raises:
            Unavailable: the store is away.
        """
        nodes = await self._nodes.nodes()
        return PresenceReport(
            users=sum_users(nodes),
            queues=await self._pools.depths(),
            calls=await self._calls.count_by_state(),
            nodes=[report_node(node) for node in nodes],
            at=self._clock.now_ms(),
        )


def sum_users(nodes: list[NodeInfo]) -> UserCounts:
    """The sum of what nodes say of themselves."""
    total: Counter[UserState] = Counter()
    for node in nodes:
        total.update(node.stats.users)
    return UserCounts(
        # Whoever reconnects is still here: the others see that, not an empty chair.
        online=total.total(),
        idle=total[UserState.IDLE],
        away=total[UserState.AWAY],
        queued=total[UserState.QUEUED],
        in_call=total[UserState.IN_CALL],
        reconnecting=total[UserState.RECONNECTING],
    )


def report_node(node: NodeInfo) -> NodeReport:
    return NodeReport(
        node_id=node.node_id,
        role=node.role,
        started_at=node.started_at,
        renewed_at=node.renewed_at,
        users={state.value: count for state, count in node.stats.users.items()},
        calls=dict(node.stats.calls),
    )
