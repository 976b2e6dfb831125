"""What safety counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SafetyMetrics:
    """Of the service, as one process sees it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.made = Counter(
            "minuet_safety_made", "Blocks and reports that people made.", ["kind"], registry=registry
        )
        self.restored = Counter(
            "minuet_safety_restored",
            "Users whose blocks were `restored` from the archive after a loss, or have to be `later`.",
            ["result"],
            registry=registry,
        )
        for kind in ("block", "report"):
            self.made.labels(kind)
        for result in ("restored", "later"):
            self.restored.labels(result)


class SafetyRecorderMetrics:
    """Of the recorder of blocks and reports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.written = Counter(
            "minuet_safety_written", "Blocks and reports that were written to the archive.", registry=registry
        )
        self.refused = Counter(
            "minuet_safety_refused",
            "Blocks and reports that can never be written; they were put aside.",
            registry=registry,
        )
        self.pending = Gauge(
            "minuet_safety_pending", "Blocks and reports that wait to be written.", registry=registry
        )
