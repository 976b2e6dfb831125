"""What the worker needs from outside, all in one."""

from dataclasses import dataclass

from base.clock import Clock
from base.ids import IdFactory
from matchmaker.lobby import Lobby
from matchmaker.metrics import MatchmakerMetrics
from matchmaker.ports import Announcer, CallStages, NodeLiveness, StoreHealth
from matchmaker.queue_store import QueueStore
from matchmaker.slots import Activities


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """What the owner of a pool needs from outside."""

    queues: QueueStore
    activities: Activities
    calls: CallStages
    announcer: Announcer
    nodes: NodeLiveness
    lobby: Lobby
    ids: IdFactory
    clock: Clock
    metrics: MatchmakerMetrics
    health: StoreHealth
