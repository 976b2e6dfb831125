"""The page of metrics, made from the objects that count.

Decides what stands there of each metric: its name as it is served, its type, unit and labels, and the sentence that
Prometheus shows beside it. A label's values are those that exist from the start; where they come with what happens,
`LABELS` says which there can be.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from accounts.metrics import AccountMetrics
from accounts.ports import RotationRefusal
from chat.metrics import ChatMetrics
from jobs.metrics import AllocationMetrics, PurgeMetrics, RecorderMetrics
from matchmaker.metrics import MatchmakerMetrics
from matchmaker.scoring import Rule
from minuet.supervisor.metrics import SupervisorMetrics
from minuet.telemetry import build_info
from presence.metrics import BusMetrics, PresenceMetrics
from presence.nodes import UserState
from rest.metrics import ReadinessMetrics, RestMetrics
from rest.settings import Limits
from safety.metrics import SafetyMetrics, SafetyRecorderMetrics
from signaling.call.states import EndReason, State
from signaling.metrics import (
    CallMetrics,
    HandoverMetrics,
    LinkMetrics,
    LiveCollector,
    RevocationMetrics,
    SessionMetrics,
)
from signaling.resuming import Outcome
from storage.postgres.metrics import ReplicaMetrics
from storage.redis.metrics import ClusterMetrics

EVERYWHERE: Final = "Every process of hub, matchmaker and worker serves these."
HUBS: Final = "Served by hubs (`serve`, whatever its role)."
WORKERS: Final = "Served by `minuet worker`, and by `serve --all-in-one`."


class _Nothing:
    """A node without anybody: what its gauges are called is asked, not how much there is."""

    def connections(self) -> int:
        return 0

    def unsent_bytes(self) -> int:
        return 0

    def sessions(self) -> Mapping[str, int]:
        return {state.value: 0 for state in UserState}

    def calls(self) -> Mapping[str, int]:
        return {state.value: 0 for state in State if state is not State.ENDED}


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics that are made together."""

    title: str
    where: str
    make: Callable[[CollectorRegistry], Any]
    is_always_there: bool = True
    """Whether an all-in-one process has them, however it is set up."""


GROUPS: Final = (
    Group("The process", EVERYWHERE, lambda registry: build_info(registry, "hub")),
    Group("Readiness", EVERYWHERE, ReadinessMetrics),
    Group("What is there now", EVERYWHERE, lambda registry: registry.register(LiveCollector(_Nothing()))),
    Group("Sockets and sessions", EVERYWHERE, SessionMetrics),
    Group("Sign-outs and bans", HUBS, RevocationMetrics),
    Group("Sessions that move", HUBS, HandoverMetrics),
    Group("Presence and leases", EVERYWHERE, PresenceMetrics),
    Group(
        "Queues and matching",
        EVERYWHERE + " Matchmakers count claims and own pools; hubs count what becomes of matches.",
        MatchmakerMetrics,
    ),
    Group("Calls", EVERYWHERE, CallMetrics),
    Group("Calls whose frames were lost", HUBS, LinkMetrics),
    Group("Between the nodes", EVERYWHERE, BusMetrics),
    Group("Chat", EVERYWHERE, ChatMetrics),
    Group("Accounts", HUBS, AccountMetrics),
    Group("REST", HUBS, RestMetrics),
    Group("Blocks and reports", HUBS, SafetyMetrics),
    Group("Blocks and reports on their way to the archive", WORKERS, SafetyRecorderMetrics),
    Group("History", WORKERS, RecorderMetrics),
    Group("What has been kept for long enough", WORKERS, PurgeMetrics),
    Group(
        "TURN servers",
        "Served by workers that `turn_admin` is set for.",
        AllocationMetrics,
        is_always_there=False,
    ),
    Group(
        "Read replica",
        "Served by every process that `database_replica_url` is set for.",
        ReplicaMetrics,
        is_always_there=False,
    ),
    Group(
        "Redis Cluster",
        "Served by every process with `redis_cluster`.",
        ClusterMetrics,
        is_always_there=False,
    ),
    Group(
        "Workers on one port",
        'Served by the supervisor of `serve --workers`, with `worker="supervisor"`. All others have the number of their'
        " process in the label `worker` on its page.",
        SupervisorMetrics,
        is_always_there=False,
    ),
)

_INTENT: Final = "the pool's intent"
_SIDE: Final = "`female`, `male`, `other`"
_ERROR: Final = "an [error code](errors.md)"
_TYPE: Final = "a [message](messages.md)"


def _either(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


LABELS: Final[Mapping[tuple[str, str], str]] = {
    ("minuet_build_info", "version"): "the release",
    ("minuet_build_info", "role"): _either(
        ("all-in-one", "hub", "rest", "matchmaker", "worker", "supervisor")
    ),
    ("minuet_check_ok", "check"): _either(
        ("staying", "redis", "postgres", "clock", "lease", "bus", "restoring", "turn", "replica")
    ),
    ("minuet_check_ok", "required"): _either(("true", "false")),
    ("minuet_session_starts_total", "result"): f"`ok`, `version`, or {_ERROR}",
    ("minuet_resume_total", "result"): _either(Outcome),
    (
        "minuet_ws_closed_total",
        "code",
    ): "a [close code](errors.md#websocket-close-codes), one of RFC 6455, or `other`",
    ("minuet_requests_refused_total", "code"): _ERROR,
    ("minuet_dropped_total", "type"): _TYPE,
    ("minuet_unknown_fields_total", "type"): _TYPE,
    ("minuet_queue_tickets", "intent"): _INTENT,
    ("minuet_queue_tickets", "side"): _SIDE,
    ("minuet_queue_oldest_seconds", "intent"): _INTENT,
    ("minuet_queue_oldest_seconds", "side"): _SIDE,
    ("minuet_match_wait_seconds", "intent"): _INTENT,
    ("minuet_match_wait_seconds", "side"): _SIDE,
    ("minuet_match_wait_seconds", "tier"): "`0` and up",
    ("minuet_matches_total", "intent"): _INTENT,
    ("minuet_matches_total", "outcome"): _either(("claimed", "live", "returned", "expired")),
    ("minuet_claims_refused_total", "intent"): _INTENT,
    ("minuet_arrival_to_claim_seconds", "intent"): _INTENT,
    ("minuet_arrival_to_announced_seconds", "intent"): _INTENT,
    ("minuet_claim_to_found_seconds", "intent"): _INTENT,
    ("minuet_passed_over_total", "intent"): _INTENT,
    ("minuet_match_rejections_total", "intent"): _INTENT,
    ("minuet_match_rejections_total", "rule"): _either(Rule),
    ("minuet_pool_epoch", "intent"): _INTENT,
    ("minuet_pool_owner", "intent"): _INTENT,
    ("minuet_pool_takeovers_total", "intent"): _INTENT,
    ("minuet_call_end_total", "reason"): _either(EndReason),
    ("minuet_sdp_rejected_total", "code"): _ERROR,
    ("minuet_call_merges_total", "found"): _either(("nothing", "newer", "other")),
    ("minuet_token_refreshes_total", "result"): _either(("rotated", *RotationRefusal)),
    ("minuet_http_requests_total", "route"): "as in the [OpenAPI document](rest.md)",
    ("minuet_http_requests_total", "method"): "an HTTP method, or `OTHER`",
    ("minuet_http_requests_total", "status"): "an HTTP status",
    ("minuet_http_request_seconds", "route"): "as in the [OpenAPI document](rest.md)",
    ("minuet_rate_limited_total", "tier"): _either(limit.name for limit in fields(Limits)),
    ("minuet_call_feedback_total", "rating"): "`1` to `5`",
    ("minuet_turn_admin_failures_total", "server"): "host and port of its admin interface",
}
"""The values of labels that come with what happens, by metric and label."""


@dataclass(frozen=True, slots=True)
class Described:
    """One metric as it is served."""

    name: str
    kind: str
    labels: Mapping[str, tuple[str, ...]]
    """Each label with the values that exist from the start."""
    text: str

    @property
    def unit(self) -> str:
        stem = self.name.removesuffix("_total")
        return next((unit for unit in ("seconds", "bytes") if stem.endswith(f"_{unit}")), "number")

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its samples."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


class _Catalogue(CollectorRegistry):
    """A registry that tells what was registered."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        super().register(collector)
        self.collectors.append(collector)


def metrics_of(group: Group) -> list[Described]:
    """The metrics of a group, in the order in which they are made."""
    catalogue = _Catalogue()
    group.make(catalogue)
    return [described for collector in catalogue.collectors for described in _described(collector)]


def metrics_page() -> str:
    """Every metric of every process."""
    lines = [
        "# Metrics",
        "",
        "<!-- Made by `python -m minuet docs` from the code; edit that instead. -->",
        "",
        "What `/metrics` of the admin port serves, in the text format of Prometheus. Counters begin at 0 with their process;",
        "histograms have `_bucket`, `_count` and `_sum`. No label names a user, a call or an address. What to watch, and what",
        "to do when, is in [operations.md](operations.md#alerts); alert rules and a dashboard are in `deploy/`. On Linux",
        "each process has its own figures beside these: `process_cpu_seconds_total`, `process_resident_memory_bytes`,",
        "`process_virtual_memory_bytes`, `process_start_time_seconds`, `process_open_fds`, `process_max_fds`, `python_info`.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.title}", "", group.where, ""]
        lines += ["| metric | type | unit | labels | meaning |", "| --- | --- | --- | --- | --- |"]
        for metric in metrics_of(group):
            labels = "; ".join(f"`{label}`: {values_of(metric, label)}" for label in metric.labels)
            lines.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.text} |")
    lines.append("")
    return "\n".join(lines)


def values_of(metric: Described, label: str) -> str:
    """Which values a label has, for people. Raises: KeyError where nothing says so."""
    if values := metric.labels[label]:
        return _either(values)
    return LABELS[metric.name, label]


def _described(collector: Collector) -> Iterator[Described]:
    for family in collector.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label: _values(family, label) for label in _labels(collector, family)}
        yield Described(name, family.type, labels, family.documentation)


def _labels(collector: Collector, family: Metric) -> tuple[str, ...]:
    if isinstance(collector, MetricWrapperBase):
        # Without a sample nothing public tells them.
        return tuple(collector._labelnames)
    return tuple(
        dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
    )


def _values(family: Metric, label: str) -> tuple[str, ...]:
    if (family.name, label) in LABELS or (f"{family.name}_total", label) in LABELS:
        return ()
    return tuple(dict.fromkeys(sample.labels[label] for sample in family.samples if label in sample.labels))
