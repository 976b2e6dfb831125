"""What the jobs count, in a registry that is handed in."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from jobs.ports import Kept

_BATCH_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class RecorderMetrics:
    """The way of ended calls into history. Every recorder reports the same backlog: take the maximum, not the sum."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.backlog = Gauge(
            "minuet_recorder_backlog", "Ended calls that are not in history yet.", registry=registry
        )
        self.lag_seconds = Gauge(
            "minuet_recorder_lag_seconds",
            "Time for which the oldest call of the backlog has been waiting; 0 when none waits.",
            registry=registry,
        )
        self.set_aside = Gauge(
            "minuet_recorder_set_aside",
            "Ended calls that history refused or that cannot be read; tried again now and then.",
            registry=registry,
        )
        self.recorded = Counter(
            "minuet_calls_recorded_total",
            "Calls written to history: `new`, or `updated` from an earlier version.",
            ["result"],
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "minuet_recorder_batch_seconds",
            "Time that the recorder takes to load, write and release one batch of calls.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.failures = Counter(
            "minuet_recorder_failures_total",
            "Failures of the recorder: `redis` or `database` away, a call `refused` by the database, `unreadable` or `lost`,"
            " or an error of ours (`internal`).",
            ["cause"],
            registry=registry,
        )
        for cause in ("redis", "database", "refused", "unreadable", "lost", "internal"):
            self.failures.labels(cause)
        for result in ("new", "updated"):
            self.recorded.labels(result)

    @contextmanager
    def counting(self, cause: str, *failures: type[Exception]) -> Iterator[None]:
        """Counts `failures` that leave the block under `cause`."""
        try:
            yield
        except failures:
            self.failures.labels(cause).inc()
            raise


class AllocationMetrics:
    """What is ended at the TURN servers, and what could not be."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ended = Counter(
            "minuet_turn_allocations_ended_total",
            "Allocations that were ended at a TURN server because their call was over.",
            registry=registry,
        )
        self.visits = Counter(
            "minuet_turn_visits_total",
            "Looks for a call's allocations: `done` at every server, `postponed` since one was away, or `given_up` after 15 minutes.",
            ["result"],
            registry=registry,
        )
        self.failures = Counter(
            "minuet_turn_admin_failures_total",
            "Times that a TURN server's admin interface did not answer or did not do as it was told.",
            ["server"],
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "minuet_turn_visit_lag_seconds",
            "Time for which the oldest look for allocations has been due; 0 when none is.",
            registry=registry,
        )
        for result in ("done", "postponed", "given_up"):
            self.visits.labels(result)


class PurgeMetrics:
    """What is deleted because it was kept for long enough."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.purged = Counter(
            "minuet_purged_total",
            "What was deleted because it had been kept for long enough.",
            ["what"],
            registry=registry,
        )
        self.failures = Counter(
            "minuet_purge_failures_total",
            "Rounds of the purge that did not come to their end: the database was away, or did not let it go.",
            ["what"],
            registry=registry,
        )
        self.share_seconds = Histogram(
            "minuet_purge_share_seconds",
            "Time that deleting one share of what was kept for long enough takes.",
            ["what"],
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        for what in Kept:
            self.purged.labels(what)
            self.failures.labels(what)
            self.share_seconds.labels(what)
