"""What an operator sets about REST, with its defaults."""

from dataclasses import dataclass, field

from rest.client_address import TrustedProxies
from rest.cors import AllowedOrigins

MAX_BODY = 65_536
BODY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in a window, refilled evenly: a token bucket."""

    capacity: int
    window_s: float = 60.0

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.window_s <= 0:
            raise ValueError(f"a rate needs a capacity of 1 or more and a window above 0 s, got {self}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates by tier; None: no limit. The last three replace the tier on their endpoints, by address."""

    none: Rate | None = Rate(10)
    user: Rate | None = Rate(100)
    moderator: Rate | None = Rate(200)
    admin: Rate | None = None
    service: Rate | None = None
    register: Rate | None = Rate(5)
    login: Rate | None = Rate(10)
    refresh: Rate | None = Rate(10)

    @classmethod
    def off(cls) -> "Limits":
        """No limits at all, e.g. for a load test from one address."""
        return cls(None, None, None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class RestSettings:
    """The REST side of the configuration."""

    limits: Limits = field(default_factory=Limits)
    trusted_proxies: TrustedProxies = field(default_factory=TrustedProxies)
    allowed_origins: AllowedOrigins = field(default_factory=AllowedOrigins)
    refuse_unknown_fields: bool = False
    """On in development, so that typos are found; elsewhere unknown fields are ignored and counted."""
    version: str = "0"
