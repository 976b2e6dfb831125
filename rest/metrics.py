"""What REST counts. No label holds an id or an address."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class RestMetrics:
    """Counters in an injected registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "minuet_http_requests_total",
            "HTTP requests that were answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "minuet_http_request_seconds",
            "Time from a request's head to its answer.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=registry,
        )
        self.rate_limited = Counter(
            "minuet_rate_limited_total",
            "HTTP requests refused with 429 because a rate limit was used up.",
            ["tier"],
            registry=registry,
        )
        self.limiter_away = Counter(
            "minuet_rate_limiter_away_total",
            "HTTP requests let through uncounted because Redis, which keeps the limits, was away.",
            registry=registry,
        )
        self.unknown_fields = Counter(
            "minuet_http_unknown_fields_total",
            "Fields of request bodies that no schema has; refused with `strict_messages`, else ignored.",
            registry=registry,
        )
        self.revocation_unchecked = Counter(
            "minuet_http_revocation_unchecked_total",
            "Hangups and the like that were let through while nobody could tell whether their token was revoked.",
            registry=registry,
        )
        self.feedback = Counter(
            "minuet_call_feedback_total",
            "Ratings of calls, from 1 to 5 stars; one that is changed counts again.",
            ["rating"],
            registry=registry,
        )


class ReadinessMetrics:
    """What `/readyz` says, for alerts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ok = Gauge(
            "minuet_check_ok",
            "1 while a check of `/readyz` is well, else 0; the process is ready while all that are `required` are well.",
            ["check", "required"],
            registry=registry,
        )
