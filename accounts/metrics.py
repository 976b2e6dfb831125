"""What accounts count."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class AccountMetrics:
    """Counters in an injected registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registrations = Counter(
            "minuet_registrations_total", "Registrations by result", ["result"], registry=registry
        )
        self.logins = Counter("minuet_logins_total", "Sign-ins by result", ["result"], registry=registry)
        self.refreshes = Counter(
            "minuet_token_refreshes_total", "Uses of refresh tokens by result", ["result"], registry=registry
        )
        self.password_seconds = Histogram(
            "minuet_password_hash_seconds",
            "From asking for an argon2 hash to having it, waiting included",
            buckets=(0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 0.8, 1.6),
            registry=registry,
        )
        self.password_queue_full = Counter(
            "minuet_password_queue_full_total", "Sign-ins refused since too many waited", registry=registry
        )
