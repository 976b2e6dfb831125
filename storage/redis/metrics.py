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
            "Commands that a node of the cluster sent on to another one: `moved` for good, or `ask` while a slot moves.",
            ["kind"],
            registry=registry,
        )
        for kind in ("moved", "ask"):
            self.redirects.labels(kind)
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
