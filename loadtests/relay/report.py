"""What was seen of each server, as tables: the figures, our ratios to the others, and what they were meant to be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Final

from loadtests.edge.targets import ICE, SDP, SIZES
from loadtests.hub.swarm import Relayed

CPU: Final = {kind: f"{kind} ({size:,} B): CPU us per message" for kind, size in SIZES.items()}
P99: Final = "ICE at a steady rate: p99 ms"
MEMORY: Final = "KB per idle connection"
CONNECTS: Final = "connects/s"
MATCHES: Final = "matches/s"


@dataclass(frozen=True, slots=True)
class Goal:
    """What our ratio to another server is meant to be: at most, or at least."""

    figure: str
    at_least: bool
    ratios: Mapping[str, float]
    """By the other's name on the command line; those without a goal are there to compare with."""


GOALS: Final = (
    Goal(CPU[ICE], False, {"socket.io": 0.25, "ws": 0.65, "aiohttp": 0.60, "c": 2.6}),
    Goal(CPU[SDP], False, {"socket.io": 0.25, "ws": 0.6, "aiohttp": 0.9}),
    Goal(P99, False, {"socket.io": 0.15, "ws": 0.75, "aiohttp": 1.1}),
    Goal(MEMORY, False, {"socket.io": 0.40, "ws": 0.9, "aiohttp": 0.3}),
    Goal(CONNECTS, True, {"socket.io": 3.0, "ws": 1.5, "aiohttp": 1.7}),
    Goal(MATCHES, True, {"socket.io": 2.0, "ws": 1.0, "aiohttp": 8.0}),
)


@dataclass(slots=True)
class Results:
    """What was seen of one server; every figure of the table is a median where it does not say otherwise."""

    name: str
    relayed: dict[str, list[Relayed]] = field(default_factory=lambda: {ICE: [], SDP: []})
    paced: list[Relayed] = field(default_factory=list)
    idle_kb: list[float] = field(default_factory=list)
    connects_per_s: list[float] = field(default_factory=list)
    connect_cpu_us: list[float] = field(default_factory=list)
    connect_stores_us: list[float] = field(default_factory=list)
    matches_per_s: list[float] = field(default_factory=list)
    match_cpu_us: list[float] = field(default_factory=list)
    match_stores_us: list[float] = field(default_factory=list)

    def rows(self) -> dict[str, float]:
        """Every figure by its name, in the order of the table."""
        figures: dict[str, float] = {}
        for kind, runs in self.relayed.items():
            size = f"{kind} ({SIZES[kind]:,} B)"
            each = [run.cpu_s / run.messages * 1e6 for run in runs]
            figures[CPU[kind]] = median(each)
            # Other programs cost a server its caches, so they only ever add: the lowest is nearest to alone.
            figures[f"{size}: the same, lowest slice"] = min(each)
            figures[f"{size}: messages/s"] = median(run.messages / run.seconds for run in runs)
        for name, per_mille in (("p50", 500), ("p99", 990), ("p99.9", 999)):
            figures[f"ICE at a steady rate: {name} ms"] = median(
                quantiles(run.latencies_ms, n=1000)[per_mille - 1] for run in self.paced
            )
        figures[MEMORY] = median(self.idle_kb)
        figures[CONNECTS] = median(self.connects_per_s)
        figures["CPU us per connect"] = median(self.connect_cpu_us)
        figures["the stores': CPU us per connect"] = median(self.connect_stores_us)
        figures[MATCHES] = median(self.matches_per_s)
        figures["CPU us per match"] = median(self.match_cpu_us)
        figures["the stores': CPU us per match"] = median(self.match_stores_us)
        return figures


def figures_table(results: Sequence[Results]) -> str:
    """One row per figure, one column per server."""
    names = [one.name for one in results]
    columns = [one.rows() for one in results]
    lines = [f"| | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    lines += [f"| {row} | {' | '.join(_number(column[row]) for column in columns)} |" for row in columns[0]]
    return "\n".join(lines)


def goals_table(ours: Results, others: Mapping[str, Results]) -> str:
    """Our ratio to each other server, with what it was meant to be, where it was, and whether it is."""
    mine = ours.rows()
    theirs = {key: other.rows() for key, other in others.items()}
    lines = [
        f"| {ours.name} to | {' | '.join(other.name for other in others.values())} |",
        "| --- |" + " --- |" * len(others),
    ]
    for goal in GOALS:
        cells = []
        for key, other in theirs.items():
            ratio, meant = mine[goal.figure] / other[goal.figure], goal.ratios.get(key)
            if meant is None:
                cells.append(f"{ratio:.2f}")
                continue
            reached = ratio >= meant if goal.at_least else ratio <= meant
            sign = ">=" if goal.at_least else "<="
            cells.append(f"{ratio:.2f} ({sign} {meant:g}: {'reached' if reached else 'missed'})")
        lines.append(f"| {goal.figure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def disturbance(results: Iterable[Results]) -> str:
    """How far the figures can be trusted."""
    lines = []
    for one in results:
        runs = [run for kind in one.relayed.values() for run in kind]
        waited = median(run.waited_s / run.seconds for run in runs)
        idle = median(run.idle_share for run in runs)
        lines.append(
            f"{one.name}: waited for its core {waited:.0%} of the time, polls without work {idle:.0%}"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
