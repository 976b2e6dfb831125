"""What presence and the bus between nodes count."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from presence.nodes import UserState


class PresenceMetrics:
    """Of one node; it counts its own, and sums are made where metrics are collected."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.users = Gauge(
            "minuet_presence_users",
            "Sessions on this node by what their user does, as of its last renewal of the lease.",
            ["state"],
            registry=registry,
        )
        self.lease_age = Gauge(
            "minuet_lease_age_seconds", "Time since this node's lease was renewed.", registry=registry
        )
        self.leases_lapsed = Counter(
            "minuet_leases_lapsed", "Leases that ended before they were renewed.", registry=registry
        )
        self.restorations = Counter(
            "minuet_restorations",
            "Times at which the store was found to have lost something, or may have.",
            registry=registry,
        )
        self.restoring_seconds = Counter(
            "minuet_restoring_seconds",
            "Time that putting things back took, counted when it is done; this node grants nothing for its first 20 s at most.",
            registry=registry,
        )
        self.put_back = Counter(
            "minuet_put_back",
            "Things that this node put back into the store after a loss.",
            ["kind"],
            registry=registry,
        )
        self.clock_skew = Gauge(
            "minuet_clock_skew_seconds",
            "Time by which this machine's clock is ahead of the store's; negative where it is behind.",
            registry=registry,
        )
        self.sessions_reaped = Counter(
            "minuet_sessions_reaped",
            "Sessions of dead nodes that this process cleared away.",
            registry=registry,
        )
        for kind in ("session", "activity", "ticket", "call", "revocation", "blocks"):
            self.put_back.labels(kind)
        for state in UserState:
            self.users.labels(state.value)


class BusTraffic(Collector):
    """What the bus counts with every publication: added up without locks, in the one thread of the event loop."""

    def __init__(self) -> None:
        self.frames_out = self.frames_in = 0
        self.batches_out = self.batches_in = 0
        self.waiting_bytes = 0
        self.held_bytes = 0
        self.kept_bytes = 0

    def collect(self) -> Iterable[Metric]:
        for name, text, out, in_ in (
            (
                "minuet_bus_frames",
                "Frames that went to other nodes or came from them.",
                self.frames_out,
                self.frames_in,
            ),
            (
                "minuet_bus_batches",
                "Publications that carried frames to other nodes or from them.",
                self.batches_out,
                self.batches_in,
            ),
        ):
            family = CounterMetricFamily(name, text, labels=["direction"])
            family.add_metric(["out"], out)
            family.add_metric(["in"], in_)
            yield family
        yield GaugeMetricFamily(
            "minuet_bus_waiting_bytes",
            "Size of the frames that wait to leave for other nodes.",
            self.waiting_bytes,
        )
        yield GaugeMetricFamily(
            "minuet_bus_held_bytes",
            "Size of the frames that wait for missing ones before them.",
            self.held_bytes,
        )
        yield GaugeMetricFamily(
            "minuet_bus_kept_bytes",
            "Size of the publications kept in case a node asks for them again.",
            self.kept_bytes,
        )


class BusMetrics:
    """Of the bus between nodes, as one process sees it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.traffic = BusTraffic()
        registry.register(self.traffic)
        self.dropped = Counter(
            "minuet_bus_dropped",
            "Frames between nodes given up: `overflow` (too much waited), `refused` by the store, or `undecodable`.",
            ["reason"],
            registry=registry,
        )
        for reason in ("overflow", "refused", "undecodable"):
            self.dropped.labels(reason)
        self.missed = Counter(
            "minuet_bus_missed",
            "Frames to this node that did not arrive and could not be had again.",
            registry=registry,
        )
        self.asked = Counter(
            "minuet_bus_asked", "Requests to other nodes to send frames again.", registry=registry
        )
        self.sent_again = Counter(
            "minuet_bus_sent_again", "Publications sent again because a node asked.", registry=registry
        )
        self.filled = Counter(
            "minuet_bus_filled",
            "Frames to this node that were missed and came when asked for.",
            registry=registry,
        )
        self.repeats = Counter(
            "minuet_bus_repeats", "Frames that came again and were passed over.", registry=registry
        )
        self.numbers_told = Counter(
            "minuet_bus_numbers_told",
            "Publications without frames that say how far a link has come.",
            registry=registry,
        )
        self.unheard = Counter(
            "minuet_bus_unheard", "Publications that reached nobody: the node is gone.", registry=registry
        )
        self.moved = Counter(
            "minuet_bus_moved",
            "Answers that a channel is another primary's, on a cluster.",
            registry=registry,
        )
        self.connects = Counter(
            "minuet_bus_connects", "Connections made to the store for the bus.", registry=registry
        )
        self.lag = Histogram(
            "minuet_bus_lag_seconds",
            "Time from the store's publishing a canary to its arrival on this node.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
