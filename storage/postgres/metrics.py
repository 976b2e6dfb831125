"""What is counted of a read replica."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class ReplicaMetrics:
    """How old the replica is, and who answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.age = Gauge(
            "minuet_replica_age_seconds",
            "Greatest possible age of what the read replica shows; -1 while nobody knows.",
            registry=registry,
        )
        self.reads = Counter(
            "minuet_replica_reads_total",
            "Reads that may be a little old: answered by the `replica`, by the `primary`, or by the primary after the"
            " replica failed (`replica_failed`).",
            ["by"],
            registry=registry,
        )
        for by in ("replica", "primary", "replica_failed"):
            self.reads.labels(by)
