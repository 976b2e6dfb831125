"""What the hub counts, in a registry that is handed in. No label names a user, a call or an address."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from base.errors import CloseCode, ErrorCode
from signaling.call.record import ConsentKind
from signaling.candidates import Outcome

_RELAY_BUCKETS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025)
_COMMAND_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class QuickHistogram(Collector):
    """A histogram for what happens with every message: adds up without locks, in the one thread of the event loop."""

    def __init__(
        self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = (*buckets, inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        cumulated = zip(map(floatToGoString, self._bounds), accumulate(self._counts), strict=True)
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=list(cumulated), sum_value=self._sum
        )


class QuickCounter(Collector):
    """Counters by one label, for what happens with every message: as `QuickHistogram`."""

    def __init__(
        self, name: str, documentation: str, label: str, values: Iterable[str], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self.counts = dict.fromkeys(values, 0)
        """By the label's value; whoever counts adds here."""
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, count in self.counts.items():
            family.add_metric([str(value)], count)
        yield family


class SessionMetrics:
    """Sockets and sessions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.handshakes = Counter(
            "minuet_session_starts_total",
            "First messages of connections: `ok`, `version` (the client is too old), or the code of the error.",
            ["result"],
            registry=registry,
        )
        self.resumes = Counter(
            "minuet_resume_total",
            "Attempts to resume a session: `here`, `elsewhere` (on another node, from where it came), or why not.",
            ["result"],
            registry=registry,
        )
        self._closed = Counter(
            "minuet_ws_closed_total",
            "WebSocket connections that were closed, by close code.",
            ["code"],
            registry=registry,
        )
        self._refused = Counter(
            "minuet_requests_refused_total",
            "WebSocket requests that were answered with an error, by its code.",
            ["code"],
            registry=registry,
        )
        self._dropped = Counter(
            "minuet_dropped_total",
            "Ephemeral messages dropped for slow readers.",
            ["type"],
            registry=registry,
        )
        self._unknown = Counter(
            "minuet_unknown_fields_total",
            "Fields of client messages that no schema names.",
            ["type"],
            registry=registry,
        )
        self._turned_away = Counter(
            "minuet_handshakes_turned_away_total",
            "Handshakes answered 503 (the node is full, its loop lags, or there are too many a second) or 429 (address).",
            ["reason"],
            registry=registry,
        )
        # The first of these must not be missed because its series only began with it.
        for close_code in CloseCode:
            self._closed.labels(str(int(close_code)))
        for error_code in (ErrorCode.INTERNAL, ErrorCode.UNAVAILABLE):
            self._refused.labels(str(error_code))
        for reason in ("full", "lag", "rate", "address"):
            self._turned_away.labels(reason)
        self.standstills = Counter(
            "minuet_standstills_total",
            "Gaps of seconds in the node's own loop, after which it looked again at its lease and sessions.",
            registry=registry,
        )
        self._stalled = Counter(
            "minuet_standstill_frames_total",
            "Frames that came after a standstill: `held` until the node knew where it stood, or `dropped`.",
            ["result"],
            registry=registry,
        )
        for result in ("held", "dropped"):
            self._stalled.labels(result)
        self.loop_lag = Histogram(
            "minuet_event_loop_lag_seconds",
            "Time by which a timer of the event loop fires late.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )

    def closed(self, code: int) -> None:
        # Clients choose codes too: only those of the closed list and of RFC 6455 become labels.
        known = 1000 <= code <= 1015 or 4000 <= code <= 4007 or 4500 <= code <= 4506
        self._closed.labels(str(int(code)) if known else "other").inc()

    def refused(self, code: str) -> None:
        self._refused.labels(str(code)).inc()

    def turned_away(self, reason: str) -> None:
        self._turned_away.labels(reason).inc()

    def stalled_frames(self, result: str, count: int) -> None:
        self._stalled.labels(result).inc(count)

    def dropped(self, type_: str) -> None:
        self._dropped.labels(type_).inc()

    def unknown_fields(self, type_: str, count: int) -> None:
        self._unknown.labels(type_).inc(count)


class RevocationMetrics:
    """How fast sign-outs and bans reach the sessions of this node."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "minuet_revocation_seconds",
            "Time from a sign-out or ban until this node has ended what it held of it.",
            buckets=(0.1, 0.25, 0.5, 0.75, 1, 2, 5, 10, 30),
            registry=registry,
        )
        self.unread = Gauge(
            "minuet_revocations_unread_seconds",
            "Time since this node last read the log of sign-outs and bans; twice a second, as long as Redis answers.",
            registry=registry,
        )


class HandoverMetrics:
    """Sessions that move between nodes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "minuet_handover_seconds",
            "Time from the claim of a session that was on another node until it was here.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
        self.given = Counter(
            "minuet_sessions_given_total", "Sessions that went to other nodes.", registry=registry
        )
        self.forwarded = Counter(
            "minuet_handover_forwarded_total",
            "Frames sent on to where a session went.",
            registry=registry,
        )
        self.awaited = Gauge(
            "minuet_handovers_awaited", "Sessions that are on their way to this node.", registry=registry
        )


class CallMetrics:
    """Calls and what is relayed in them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.relay_seconds = QuickHistogram(
            "minuet_relay_seconds",
            "Time from a read description or candidate until it is handed to the peer's socket, or to the bus between nodes.",
            buckets=_RELAY_BUCKETS,
            registry=registry,
        )
        self.command_seconds = Histogram(
            "minuet_call_command_seconds",
            "Time from an event of a call to its effects.",
            buckets=_COMMAND_BUCKETS,
            registry=registry,
        )
        self.ended = Counter(
            "minuet_call_end_total",
            "Ended calls by reason, counted where the end was committed.",
            ["reason"],
            registry=registry,
        )
        self.consent = Counter(
            "minuet_consent_total",
            "Entries in the consent logs of calls, counted with the end of their call.",
            ["kind"],
            registry=registry,
        )
        for kind in ConsentKind:
            self.consent.labels(kind)
        self.sdp_rejected = Counter(
            "minuet_sdp_rejected_total",
            "Descriptions that were not let through, by the code of the error.",
            ["code"],
            registry=registry,
        )
        self.candidates = QuickCounter(
            "minuet_candidates_total",
            "Candidates, trickled and in descriptions, by what became of them.",
            "outcome",
            Outcome,
            registry,
        ).counts
        self.sdp_lines_left_out = Counter(
            "minuet_sdp_lines_left_out_total",
            "Lines of descriptions that did not pass because addresses are hidden and nobody knows what they hold.",
            registry=registry,
        )
        self.conflicts = Counter(
            "minuet_call_commit_conflicts_total",
            "Commits that lost a race and were decided again.",
            registry=registry,
        )
        self.untold = Gauge(
            "minuet_calls_untold",
            "Changes of calls that this process has told another node, and that are not acknowledged yet.",
            registry=registry,
        )
        self.told_again = Counter(
            "minuet_call_told_again_total",
            "Changes of calls told once more, because a node had not acknowledged them in a second.",
            registry=registry,
        )
        self.upheld = Counter(
            "minuet_call_upheld_total",
            "Ends and revocations that were told, then lost by the store, and committed again.",
            registry=registry,
        )
        self.unconfirmed = Counter(
            "minuet_call_commits_unconfirmed_total",
            "Ends and revocations that no replica of the store had confirmed in 100 ms, though it has replicas.",
            registry=registry,
        )
        self.merges = Counter(
            "minuet_call_merges_total",
            "Call records put back or merged after the store had lost something, by what was found there.",
            ["found"],
            registry=registry,
        )
        self.late_timers = Histogram(
            "minuet_call_timer_lateness_seconds",
            "Time by which a call's timer was fired after its deadline.",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
            registry=registry,
        )


class LinkMetrics:
    """What lost frames between nodes did to calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.looked_at = Counter(
            "minuet_call_links_lost_total",
            "Calls brought up to date because frames between their two nodes were lost for good.",
            registry=registry,
        )
        self.resets = Counter(
            "minuet_call_links_reset_total",
            "Of these, calls whose negotiation began anew, since some of it may have been lost.",
            registry=registry,
        )


class LiveCounts(Protocol):
    """What is there at this moment, counted when somebody asks."""

    def connections(self) -> int: ...

    def unsent_bytes(self) -> int: ...

    def sessions(self) -> Mapping[str, int]: ...

    def calls(self) -> Mapping[str, int]: ...


class LiveCollector(Collector):
    """Gauges that are counted at each scrape, so that they cannot drift from the truth."""

    def __init__(self, counts: LiveCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "minuet_ws_connections", "Open WebSocket connections.", self._counts.connections()
        )
        yield GaugeMetricFamily(
            "minuet_send_buffer_bytes",
            "Size of what waits unsent for slow readers.",
            self._counts.unsent_bytes(),
        )
        yield _by_state("minuet_sessions", "Sessions of this node by state.", self._counts.sessions())
        yield _by_state("minuet_calls", "Calls that this node takes part in, by state.", self._counts.calls())


def _by_state(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family
