"""The operators' picture, summed from what nodes say."""

from collections.abc import Mapping

import msgspec

from base.clock import ManualClock, ServerClock
from base.ids import NodeId
from presence.nodes import NodeInfo, NodeStats, UserState
from presence.stats import PresenceStats


def node(name: str, stats: NodeStats) -> NodeInfo:
    return NodeInfo(NodeId(name), "serve", started_at=1, renewed_at=2, stats=stats)


class SomeNodes:
    """Nodes that are given."""

    def __init__(self, *nodes: NodeInfo) -> None:
        self._nodes = nodes

    async def nodes(self) -> list[NodeInfo]:
        return list(self._nodes)

    async def living(self) -> set[NodeId]:
        return {node.node_id for node in self._nodes}


class SomePools:
    """Depths that are given."""

    async def depths(self) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        return {"dating": {"female": {"waiting": 3, "paused": 1, "matched": 2}}}


class SomeCalls:
    """Counts that are given."""

    async def count_by_state(self) -> Mapping[str, int]:
        return {"live": 4}


async def test_users_are_the_sum_over_living_nodes() -> None:
    """Each state is summed; everybody with a session is online, also whoever reconnects."""
    nodes = SomeNodes(
        node("n1", NodeStats(users={UserState.IDLE: 2, UserState.IN_CALL: 4, UserState.RECONNECTING: 1})),
        node("n2", NodeStats(users={UserState.IDLE: 1, UserState.QUEUED: 5, UserState.AWAY: 2})),
        node("worker", NodeStats()),
    )
    report = await PresenceStats(nodes, SomePools(), SomeCalls(), ServerClock(ManualClock())).report()

    assert msgspec.to_builtins(report.users) == {
        "online": 15,
        "idle": 3,
        "away": 2,
        "queued": 5,
        "in_call": 4,
        "reconnecting": 1,
    }


async def test_the_report_has_queues_calls_nodes_and_its_time() -> None:
    """It is plain data, as the admin page gets it."""
    clock = ManualClock()
    nodes = SomeNodes(node("n1", NodeStats(users={UserState.QUEUED: 1}, calls={"live": 2})))
    report = await PresenceStats(nodes, SomePools(), SomeCalls(), ServerClock(clock)).report()

    assert msgspec.json.decode(msgspec.json.encode(report)) == {
        "users": {"online": 1, "idle": 0, "away": 0, "queued": 1, "in_call": 0, "reconnecting": 0},
        "queues": {"dating": {"female": {"waiting": 3, "paused": 1, "matched": 2}}},
        "calls": {"live": 4},
        "nodes": [
            {
                "node_id": "n1",
                "role": "serve",
                "started_at": 1,
                "renewed_at": 2,
                "users": {"queued": 1},
                "calls": {"live": 2},
            }
        ],
        "at": clock.now_ms,
    }
