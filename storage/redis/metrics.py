"""What the client of a cluster counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class ClusterMetrics:
    """Of one process; without a registry nobody reads them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.primaries = Gauge(
            "minuet_redis_cluster_primaries",
            "Primaries of the Redis Cluster that serve slots, as this process knows them.",
            registry=registry,
        )
        self.changes = Counter(
            "minuet_redis_cluster_changes",
            "Times at which slots were found to be served by another primary.",
            registry=registry,
        )
        self.redirects = Counter(
            "minuet_redis_cluster_redirects",
            "Commands that a node sent on to another one, by the kind of its answer.",
            ["kind"],
            registry=registry,
        )
        self.waits = Counter(
            "minuet_redis_cluster_waits",
            "Pauses that commands made because the primary of their slot did not serve.",
            registry=registry,
        )
        self.given_up = Counter(
            "minuet_redis_cluster_given_up",
            "Commands that were given up because the primary of their slot did not serve.",
            registry=registry,
        )
