"""From what one person and one call cost to what a crowd takes. Pure.

The model is linear on purpose: every cost in it grows with sessions, session starts, calls or relayed messages and with nothing else;
docs/scaling.md says where that ends. It counts processor time: how full a processor may be is the operator's to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HUB = "serve"


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost: microseconds of CPU by process, where not said otherwise."""

    nobody: Mapping[str, float]
    """A second of one process of each kind with nobody there."""
    session: Mapping[str, float]
    """A second with one idle session more."""
    connect: Mapping[str, float]
    call: Mapping[str, float]
    relay_us: float
    """The hub's, for a message from one to the other."""
    connect_commands: float
    call_commands: float
    session_kb: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many people connected at once, and what they do."""

    people: int
    in_call: float = 0.5
    """Share of the people who are in a call."""
    call_s: float = 180.0
    relays_per_call: float = 40.0
    """Descriptions and candidates of both sides."""
    stay_s: float = 1_200.0
    """For how long somebody stays connected; a resumed session counts as a new start."""
    matches_per_call: float = 1.3
    """Some matches are declined or do not connect; each is charged as if it had been a call."""

    @property
    def calls_per_s(self) -> float:
        """Calls that are talked."""
        return self.people * self.in_call / 2 / self.call_s

    @property
    def connects_per_s(self) -> float:
        return self.people / self.stay_s


@dataclass(frozen=True, slots=True)
class Load:
    """What a crowd takes: processors kept busy, by process; Redis commands a second; memory of the hubs."""

    cores: Mapping[str, float]
    commands_per_s: float
    sessions_gb: float


def load_of(crowd: Crowd, prices: Prices) -> Load:
    """Adds everything up; one process of each kind is charged for what it does with nobody there."""
    matches_per_s = crowd.calls_per_s * crowd.matches_per_call
    us = {
        name: prices.nobody[name]
        + crowd.people * prices.session[name]
        + crowd.connects_per_s * prices.connect[name]
        + matches_per_s * prices.call[name]
        for name in prices.call
    }
    us[HUB] += crowd.calls_per_s * crowd.relays_per_call * prices.relay_us
    return Load(
        {name: each / 1e6 for name, each in us.items()},
        crowd.connects_per_s * prices.connect_commands + matches_per_s * prices.call_commands,
        crowd.people * prices.session_kb / 1024**2,
    )
