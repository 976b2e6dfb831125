"""One run: people live, faults come one after the other, then all go home and the checker reads what was recorded.

A run fails where the checker finds a broken promise, and as well where a fault left no trace, where people did not get
through again after one, where a process ended that nobody had killed, or where too little happened to prove anything.
"""

import asyncio
import json
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.checker import Mode, check
from tests.chaos.deployment import PREFIX, SECRET, Deployment, Layout
from tests.chaos.faults import Fault, Scene
from tests.chaos.history import History
from tests.chaos.judge_again import HISTORY, keep
from tests.chaos.readings import read_final
from tests.chaos.swarm import Habits, Swarm, World, settle_people
from tests.chaos.swarm_device import DRAIN

RECOVERY_S = 30.0
# Clocks restart and people come back: so long after a fault its traces may still be seen.
AFTERMATH_MS = 5_000.0
LATE_MS = 1_500.0
STRANGERS = 1_000
# Of a line of the history in a report: who needs more finds the line by its number.
WIDTH = 300


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. `calm_s`: between two faults, beside the time that people need to get through again."""

    seed: int
    people: int
    layout: Layout
    faults: Sequence[Fault]
    habits: Habits = field(default_factory=Habits)
    calm_s: float = 1.5
    least_calls: int = 0
    """So many calls have to go live, or the run has shown nothing."""
    unnoticed: bool = False
    """Nothing that is done may cost anybody more than a reconnect to which they were asked."""


@dataclass(slots=True)
class Done:
    """A fault that was made, and when, in the history's time."""

    fault: Fault
    began_ms: float
    ended_ms: float = 0.0
    recovered_ms: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        recovered = (
            f"recovered {(self.recovered_ms - self.ended_ms) / 1000:.1f} s later"
            if self.recovered_ms is not None
            else "NOT RECOVERED"
        )
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items()) or "NO EVIDENCE"
        span = f"{self.began_ms / 1000:8.2f} to {self.ended_ms / 1000:8.2f} s"
        return f"{span}  {self.fault!r}\n{'':24}{facts}; {recovered}"


@dataclass(slots=True)
class Report:
    """What a run showed."""

    plan: Plan
    folder: Path
    done: list[Done] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    verdict: str = ""

    @property
    def ok(self) -> bool:
        return not self.failures

    def text(self) -> str:
        """All that somebody needs who wants to know what went wrong."""
        lines = [
            f"chaos run with seed {self.plan.seed}: {'passed' if self.ok else 'FAILED'}",
            f"{self.plan.people} people, {', '.join(self.plan.layout.names)}"
            f"{', Redis Cluster' if self.plan.layout.cluster else ''}",
            *(f"FAILURE: {failure}" for failure in self.failures),
            "",
            "schedule, in the history's time:",
            *(done.line() for done in self.done),
            "",
            "what happened: " + ", ".join(f"{name} {number}" for name, number in sorted(self.counts.items())),
            "",
            *(line[:WIDTH] for line in self.verdict.splitlines()),
            "",
            f"logs of all processes, history.jsonl, report.txt: {self.folder}",
            f"again: CHAOS_SEED={self.plan.seed}",
        ]
        return "\n".join(lines)


async def run(plan: Plan, folder: Path) -> Report:
    """Makes a run; its histories, logs and report are left in the folder."""
    report = Report(plan, folder)
    async with Deployment(folder, plan.layout) as deployment:
        accounts = await settle_people(deployment.database_url, SECRET, plan.people + STRANGERS)
        people, strangers = accounts[: plan.people], accounts[plan.people :]
        world = World(people, addresses=[deployment.url])
        swarm = Swarm(world, seed=plan.seed, habits=plan.habits)
        # Of one side: nobody of them is to meet anybody.
        scene = Scene(deployment, swarm, [account for account in strangers if account.gender == "female"])
        try:
            await _live(plan, scene, report)
        finally:
            report.counts = swarm.counts()
            swarm.history.dump(folder / HISTORY)
            (folder / "schedule.json").write_text(_as_json(report))
            for member in deployment.members.values():
                report.counts[f"lives of {member.role}"] += member.lives
                report.failures += errors_in(member.log)
    (folder / "report.txt").write_text(report.text())
    return report


async def _live(plan: Plan, scene: Scene, report: Report) -> None:
    swarm, deployment = scene.swarm, scene.deployment
    await swarm.run(until=2.0)
    if not await _gets_through(scene, RECOVERY_S):
        report.failures.append("nobody got through before the first fault")
    for fault in plan.faults:
        report.done.append(await _inject(fault, scene, report))
        if report.failures:
            break
        await asyncio.sleep(plan.calm_s)
    if not await swarm.settle():
        report.failures.append("some people could not come home")
    try:
        final = await read_final(swarm, deployment.database_url, deployment.redis_url, PREFIX)
    except Exception as error:  # the report is to say what was done until then
        report.failures.append(f"what was left could not be read: {error!r}\n{traceback.format_exc()}")
        return
    report.counts = swarm.counts()
    if report.counts["calls live"] < plan.least_calls:
        report.failures.append(f"only {report.counts['calls live']} calls went live, of {plan.least_calls}")
    if swarm.history.overflowed:
        report.failures.append("the history overflowed")
    if plan.unnoticed:
        report.failures += noticed(swarm.history)
    mode = mode_of(report.done)
    keep(report.folder, final, mode)
    verdict = check(swarm.history, final, mode)
    report.verdict = verdict.report()
    if not verdict.ok:
        report.failures.append("the checker found broken promises, see below")


async def _inject(fault: Fault, scene: Scene, report: Report) -> Done:
    """Makes one fault, and waits until people get through again."""
    history = scene.swarm.history
    done = Done(fault, scene.now_ms())
    history.fault(type(fault).__name__, repr(fault), phase="begins")
    try:
        done.facts = await fault.inject(scene)
    except Exception as error:  # whatever it is, the run is over and the report has to say of what
        report.failures.append(f"{fault!r}: {error!r}\n{traceback.format_exc()}")
    done.ended_ms = scene.now_ms()
    history.fault(type(fault).__name__, repr(fault), phase="ends", **done.facts)
    if await _gets_through(scene, RECOVERY_S):
        done.recovered_ms = scene.now_ms()
        history.fault(type(fault).__name__, repr(fault), phase="recovered")
    else:
        report.failures.append(f"{fault!r}: nobody got through within {RECOVERY_S:g} s after it")
    for member in scene.deployment.ended_by_themselves():
        status = member.running.child.returncode
        report.failures.append(f"{member.name} ended with {status}:\n{member.running.tail()}")
    return done


async def _gets_through(scene: Scene, timeout_s: float) -> bool:
    """Whether calls are found and go live from now on, enough of them."""
    history = scene.swarm.history
    wanted = max(2, len(scene.swarm.people) // 50)
    found: set[str] = set()
    live: set[str] = set()
    position = len(history)
    deadline = asyncio.get_running_loop().time() + timeout_s
    while len(live) < wanted:
        for entry in history.entries[position:]:
            if entry.type == "match.found":
                found.add(entry.call)
            elif entry.type == "call.state" and entry.body["state"] == "live" and entry.call in found:
                live.add(entry.call)
        position = len(history)
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


def errors_in(log: Path) -> list[str]:
    """What a process logged as its own mistake: whatever fails around it is no reason for that."""
    errors: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        # Before they are parsed: there are tens of thousands of lines.
        if '"level":"error"' not in line and '"level": "error"' not in line and '"critical"' not in line:
            continue
        entry = json.loads(line)
        last = str(entry.get("exception") or "").strip().splitlines()[-1:]
        errors[" ".join([entry["event"], *last])] += 1
    return [f"{log.name}: logged {number} times: {error}" for error, number in errors.items()]


def noticed(history: History) -> list[str]:
    """What people noticed of something that they should not have: cut sockets, lost sessions, calls lost by the network."""
    found: Counter[str] = Counter()
    resuming: set[tuple[int, int]] = set()
    for entry in history:
        socket = (entry.who, entry.socket)
        if entry.kind == "shut" and entry.data["by"] == "them" and entry.data["code"] not in (1000, DRAIN):
            found[f"a socket was closed with {entry.data['code']}"] += 1
        elif entry.kind == "sent" and entry.type == "session.resume":
            resuming.add(socket)
        elif entry.type == "session.ready" and socket in resuming:
            found["a session was not resumed"] += 1
        elif entry.type == "call.ended" and entry.body["reason"] == "network_lost":
            found["a call was lost by the network"] += 1
    return [f"{what}, {count} times" for what, count in found.items()]


def mode_of(done: Sequence[Done]) -> Mode:
    """What the checker may excuse, because of what was done when."""

    def spans(which: str) -> tuple[tuple[float, float], ...]:
        return tuple(
            (each.began_ms, max(each.ended_ms, each.recovered_ms or 0.0) + AFTERMATH_MS)
            for each in done
            if getattr(each.fault.excuse, which)
        )

    return Mode(
        away=spans("away"),
        lossy=spans("lossy"),
        alone=spans("alone"),
        sessions_survive=not any(each.fault.excuse.ends_sessions for each in done),
        late_ms=LATE_MS,
    )


def _as_json(report: Report) -> str:
    rows = [
        {
            "fault": repr(done.fault),
            "began_ms": round(done.began_ms),
            "ended_ms": round(done.ended_ms),
            "recovered_ms": done.recovered_ms and round(done.recovered_ms),
            "evidence": dict(done.facts),
        }
        for done in report.done
    ]
    return json.dumps({"seed": report.plan.seed, "people": report.plan.people, "faults": rows}, indent=2)
