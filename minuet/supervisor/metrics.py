"""What a supervisor counts of its workers."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SupervisorMetrics:
    """Figures of the supervisor itself; those of its workers are their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.wanted = Gauge("minuet_workers_wanted", "Workers that there should be.", registry=registry)
        self.serving = Gauge("minuet_workers_serving", "Workers that serve.", registry=registry)
        self.deaths = Counter(
            "minuet_worker_deaths_total", "Workers that ended without being asked to.", registry=registry
        )
        self.rollings = Counter(
            "minuet_rolling_restarts_total",
            "Replacements of all workers (SIGHUP): `done`, or `broken_off` because a new one did not come to serve.",
            ["result"],
            registry=registry,
        )
        for result in ("done", "broken_off"):
            self.rollings.labels(result)
