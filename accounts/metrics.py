"""What accounts count."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class AccountMetrics:
    """Counters in an injected registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registrations = Counter(
            "minuet_registrations_total", "Tries to register.", ["result"], registry=registry
        )
        self.logins = Counter("minuet_logins_total", "Tries to sign in.", ["result"], registry=registry)
        self.refreshes = Counter(
            "minuet_token_refreshes_total",
            "Uses of refresh tokens: `rotated`, or why not.",
            ["result"],
            registry=registry,
        )
        for result in ("registered", "taken"):
            self.registrations.labels(result)
        for result in ("signed_in", "failed", "delayed", "banned"):
            self.logins.labels(result)
        self.password_seconds = Histogram(
            "minuet_password_hash_seconds",
            "Time from asking for an argon2 hash to having it, waiting included.",
            buckets=(0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 0.8, 1.6),
            registry=registry,
        )
        self.password_queue_full = Counter(
            "minuet_password_queue_full_total",
            "Sign-ins and registrations refused because too many waited for their hash.",
            registry=registry,
        )
