"""What the matchmaker counts; its names are contracts of the dashboards."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 900)
_CLAIM_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class MatchmakerMetrics:
    """The metrics of one process: hubs count what becomes of matches, workers the rest."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tickets = Gauge(
            "minuet_queue_tickets",
            "Tickets that wait in a pool, as its owner knows them; 0 where this process is not the owner.",
            ["intent", "side"],
            registry=registry,
        )
        self.oldest = Gauge(
            "minuet_queue_oldest_seconds",
            "Time for which whoever's turn is next has been waiting, a head start counted in; 0 where nobody waits.",
            ["intent", "side"],
            registry=registry,
        )
        self.match_wait = Histogram(
            "minuet_match_wait_seconds",
            "Time from joining the queue to the claim, by the tier up to which wishes had widened.",
            ["intent", "side", "tier"],
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.matches = Counter(
            "minuet_matches_total",
            "Matches by what became of them: `claimed`, then `live`, `returned` (a side went back) or `expired` (no call came).",
            ["intent", "outcome"],
            registry=registry,
        )
        self.claims_refused = Counter(
            "minuet_claims_refused_total",
            "Pairs that could not be claimed because a ticket of theirs was not waiting any more.",
            ["intent"],
            registry=registry,
        )
        self.claim_latency = Histogram(
            "minuet_arrival_to_claim_seconds",
            "Time from a ticket's arrival in the pool to its claim, for tickets matched on arrival.",
            ["intent"],
            buckets=_CLAIM_BUCKETS,
            registry=registry,
        )
        self.announce_latency = Histogram(
            "minuet_arrival_to_announced_seconds",
            "Time from a ticket's arrival in the pool until both nodes are told of its match, for tickets matched on arrival.",
            ["intent"],
            buckets=_CLAIM_BUCKETS,
            registry=registry,
        )
        self.found_latency = Histogram(
            "minuet_claim_to_found_seconds",
            "Time from a claim until a session is told `match.found`.",
            ["intent"],
            buckets=_CLAIM_BUCKETS,
            registry=registry,
        )
        self.passed_over = Counter(
            "minuet_passed_over_total",
            "Waiting tickets that somebody behind them was preferred to, for a better fit.",
            ["intent"],
            registry=registry,
        )
        self.rejections = Counter(
            "minuet_match_rejections_total",
            "Refusals of a pair by the rule that refused it, for those first in the queue, in a sample of one try in 32.",
            ["intent", "rule"],
            registry=registry,
        )
        self.lease_epoch = Gauge(
            "minuet_pool_epoch",
            "Number of the lease under which this process owns the pool; 0 where it does not.",
            ["intent"],
            registry=registry,
        )
        self.pool_owner = Gauge(
            "minuet_pool_owner",
            "1 where this process owns the pool, 0 where it did before.",
            ["intent"],
            registry=registry,
        )
        self.takeovers = Counter(
            "minuet_pool_takeovers_total",
            "Times at which this process began to own the pool.",
            ["intent"],
            registry=registry,
        )
