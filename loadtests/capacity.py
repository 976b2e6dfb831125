"""What a person, an idle second and a call cost: the figures of the capacity model in docs/scaling.md.

    python -m loadtests.capacity            400 calls, 2,000 idle sessions: about two minutes
    python -m loadtests.capacity --quick    20 calls, briefly

A hub, a matchmaker and a worker, each a process of its own, and a Valkey and a PostgreSQL of their own. What the stores are
asked is counted by Valkey's MONITOR: what clients send, not what scripts do inside, and bytes by what its sockets
carried. CPU is what the kernel charges to each process, user and system (Linux). What runs anyway (leases, heartbeats, sweeps) is
measured while everybody is idle, and taken off the rest.

A call here is whole: two people with sessions join, are matched, accept, negotiate once, are live, hang up, and the call is
written to history.
"""

import argparse
import asyncio
import platform
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files

import asyncpg
import orjson
from redis import Redis
from redis.exceptions import RedisError

from loadtests.capacity_model import Crowd, Prices, load_of
from loadtests.edge.server_process import ServerProcess
from loadtests.hub.processes import cpu_seconds, prepare, running_part
from loadtests.hub.swarm import Swarm
from loadtests.hub.talk import HubTalk
from loadtests.hub.world import World, opened_world

ROLES = ("serve", "matchmaker", "worker")
SIZES = (10_000, 100_000, 1_000_000)
_LABELS = {"serve": "hub"}
_RECORDED_WITHIN_S = 30.0
_CUT_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done."""

    calls: int
    idle: int
    idle_s: float
    settle_s: float
    """Until everything has come to rest: PostgreSQL adds up what an idle connection did after ten seconds only."""

    @property
    def people(self) -> int:
        return 2 * self.calls + 2 * self.idle


FULL = Plan(calls=400, idle=2_000, idle_s=20.0, settle_s=11.0)
QUICK = Plan(calls=20, idle=60, idle_s=2.0, settle_s=1.5)


class Caller(HubTalk):
    """Has a session, then a call, then none."""

    def call(self) -> bytes:
        """Joins; ready when the call is live."""
        self._meets = True
        return self.join()

    def hang_up(self) -> bytes:
        """Ends the call, unless the other was quicker; ready when it is over."""
        self.is_ready = False
        self._meets = False
        return self.request("call.hangup", {"call_id": self.pair})

    def heard(self, message: bytes) -> Sequence[bytes]:
        if not self._meets and message.startswith((b'{"type":"call.ended"', b'{"type":"error"')):
            envelope = orjson.loads(message)
            if envelope["data"].get("code") not in (None, "call_ended"):
                raise RuntimeError(f"the hub answered {message[:300]!r}")
            self._seq = envelope.get("seq", self._seq)
            self.is_ready = True
            return ()
        return super().heard(message)


class Monitor:
    """Counts the commands that a Valkey is sent, scripts by their names."""

    def __init__(self, url: str) -> None:
        self._scripts = {
            sha1(script.read_bytes()).hexdigest(): script.name.removesuffix(".lua")  # noqa: S324  Redis' own name for it
            for script in files("storage.redis").joinpath("scripts").iterdir()
            if script.name.endswith(".lua")
        }
        self.counts: Counter[str] = Counter()
        self._redis = Redis.from_url(url)
        self._monitor = self._redis.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._monitor.connection.disconnect()
        self._thread.join()
        self._redis.close()

    def _count(self) -> None:
        with suppress(RedisError, OSError, ValueError):
            for seen in self._monitor.listen():
                if seen["client_type"] == "lua":
                    continue
                name, _, rest = seen["command"].partition(" ")
                script = self._scripts.get(rest.partition(" ")[0])
                self.counts[script or name.upper()] += 1


@dataclass(frozen=True, slots=True)
class Reading:
    """What everything had used up at a moment."""

    at: float
    commands: Counter[str]
    cpu_s: Mapping[str, float]
    transactions: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What each of so many things took. `commands` by name, CPU in microseconds by process."""

    commands: Mapping[str, float]
    cpu_us: Mapping[str, float]
    transactions: float


@dataclass(slots=True)
class Site:
    """The processes that are watched."""

    world: World
    servers: Mapping[str, ServerProcess]
    monitor: Monitor
    runner: asyncio.Runner
    database: asyncpg.Connection = field(repr=False)

    def read(self) -> Reading:
        """Looks at all of them."""
        cpu = {role: server.usage().cpu_s for role, server in self.servers.items()}
        cpu["Valkey"] = cpu_seconds(self.world.valkey_pid)
        cpu["PostgreSQL"] = cpu_seconds(self.world.postgres_pid)
        return Reading(time.monotonic(), self.monitor.counts.copy(), cpu, self._transactions())

    def recorded(self) -> int:
        """How many calls are in history."""
        count = self.runner.run(self.database.fetchval("SELECT count(*) FROM calls.calls"))
        return int(count)

    def redis_bytes(self) -> int:
        """What Valkey holds in memory for its data."""
        with Redis.from_url(self.world.environment["MINUET_REDIS_URL"]) as redis:
            return int(redis.info("memory")["used_memory_dataset"])

    def _transactions(self) -> int:
        # The statistics are the server's own; our questions are a handful beside what is measured.
        count = self.runner.run(
            self.database.fetchval(
                "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            )
        )
        return int(count)


def cost(before: Reading, after: Reading, count: int, idle: Cost | None = None) -> Cost:
    """What each of `count` took between two readings; `idle` is what a second takes anyway."""
    seconds = after.at - before.at
    anyway = idle or Cost({}, {}, 0)

    def each(total: float, per_s: float) -> float:
        return max(0.0, total - per_s * seconds) / count

    commands = after.commands - before.commands
    return Cost(
        {name: each(number, anyway.commands.get(name, 0)) for name, number in commands.items()},
        {
            name: each((after.cpu_s[name] - before.cpu_s[name]) * 1e6, anyway.cpu_us.get(name, 0))
            for name in after.cpu_s
        },
        each(after.transactions - before.transactions, anyway.transactions),
    )


@contextmanager
def opened_site(world: World) -> Iterator[Site]:
    """A hub, a matchmaker and a worker."""
    with ExitStack() as stack:
        servers = {role: stack.enter_context(running_part(role, None, world.environment)) for role in ROLES}
        runner = stack.enter_context(asyncio.Runner())
        database = runner.run(asyncpg.connect(world.environment["MINUET_DATABASE_URL"]))
        stack.callback(lambda: runner.run(database.close()))
        monitor = Monitor(world.environment["MINUET_REDIS_URL"])
        stack.callback(monitor.close)
        yield Site(world, servers, monitor, runner, database)


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was measured."""

    alone: Cost
    """One second of all processes with the callers idle."""
    idle: Cost
    """One second of them with everybody idle."""
    connect: Cost
    call: Cost
    session_kb: float
    detached_kb: float
    session_redis_bytes: float
    calls_s: float


def measure(site: Site, plan: Plan) -> Figures:
    """Everything once, one after the other. Raises: TimeoutError where calls are not recorded."""
    people = iter(site.world.people)
    hub = site.servers["serve"]
    swarm, idlers = Swarm(hub.port), Swarm(hub.port)
    callers = [Caller(next(people), meets=False) for _ in range(2 * plan.calls)]
    swarm.connect(callers)
    _wait(plan.settle_s, swarm)

    resting = site.read()
    _wait(plan.idle_s / 2, swarm)
    alone = cost(resting, site.read(), max(1, round(plan.idle_s / 2)))
    resident, in_redis, before = hub.resident_bytes(), site.redis_bytes(), site.read()
    idlers.connect([HubTalk(next(people), meets=False) for _ in range(plan.idle)])
    _wait(plan.settle_s, swarm, idlers)
    connect = cost(before, site.read(), plan.idle, alone)
    session_kb = (hub.resident_bytes() - resident) / plan.idle / 1024
    session_redis_bytes = (site.redis_bytes() - in_redis) / plan.idle

    resting = site.read()
    _wait(plan.idle_s, swarm, idlers)
    idle = cost(resting, site.read(), max(1, round(plan.idle_s)))

    before, recorded = site.read(), site.recorded()
    seconds = swarm.ask([caller.call for caller in callers])
    swarm.ask([caller.hang_up for caller in callers])
    until = time.monotonic() + _RECORDED_WITHIN_S
    while site.recorded() < recorded + plan.calls:
        if time.monotonic() > until:
            raise TimeoutError(f"{site.recorded() - recorded} of {plan.calls} calls are in history")
        _wait(0.1, swarm, idlers)
    _wait(plan.settle_s, swarm, idlers)
    call = cost(before, site.read(), plan.calls, idle)

    resident = hub.resident_bytes()
    gone = [HubTalk(next(people), meets=False) for _ in range(plan.idle)]
    for start in range(0, plan.idle, _CUT_AT_ONCE):
        # In small shares: what a socket took is free again for the next one, what stays is the session without it.
        share = Swarm(hub.port)
        share.connect(gone[start : start + _CUT_AT_ONCE])
        share.close()
    _wait(plan.settle_s, swarm, idlers)
    detached_kb = (hub.resident_bytes() - resident) / plan.idle / 1024
    idlers.close()
    swarm.close()
    return Figures(alone, idle, connect, call, session_kb, detached_kb, session_redis_bytes, seconds)


def _wait(seconds: float, *swarms: Swarm) -> None:
    """Lets time pass; who is pinged answers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for swarm in swarms:
            swarm.attend(0.05)


def report(figures: Figures, plan: Plan) -> str:
    """Two tables: the sums, and which commands they are."""
    columns = {
        "a session start": figures.connect,
        f"a second with {plan.idle + 2 * plan.calls:,} idle sessions": figures.idle,
        "a call": figures.call,
    }
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    lines.append(_row("Redis commands", [sum(each.commands.values()) for each in columns.values()]))
    lines.append(_row("PostgreSQL transactions", [each.transactions for each in columns.values()]))
    lines += [
        _row(f"{_LABELS.get(name, name)}: CPU us", [each.cpu_us[name] for each in columns.values()])
        for name in figures.call.cpu_us
    ]
    lines += ["", f"| commands | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    names = sorted({name for each in columns.values() for name in each.commands})
    for name in names:
        numbers = [each.commands.get(name, 0.0) for each in columns.values()]
        if max(numbers) >= 0.05:
            lines.append(_row(f"`{name}`", numbers))
    lines += [
        "",
        f"Hub: {figures.session_kb:.1f} KB for an idle session, {figures.detached_kb:.1f} KB for a detached one. "
        f"Valkey: {figures.session_redis_bytes:.0f} B for a session.",
        f"The calls came to live at {plan.calls / figures.calls_s:.0f} a second.",
    ]
    return "\n".join(lines)


def prices(figures: Figures, plan: Plan, relay_us: float) -> Prices:
    """The figures as the model wants them."""
    names = figures.call.cpu_us
    more = {name: (figures.idle.cpu_us[name] - figures.alone.cpu_us[name]) / plan.idle for name in names}
    return Prices(
        nobody={name: max(0.0, figures.alone.cpu_us[name] - 2 * plan.calls * more[name]) for name in names},
        session={name: max(0.0, more[name]) for name in names},
        connect=figures.connect.cpu_us,
        call=figures.call.cpu_us,
        relay_us=relay_us,
        connect_commands=sum(figures.connect.commands.values()),
        call_commands=sum(figures.call.commands.values()),
        session_kb=figures.session_kb,
    )


def crowds(found: Prices, sizes: Sequence[int]) -> str:
    """What crowds of these sizes take, by the model."""
    loads = [load_of(Crowd(size), found) for size in sizes]
    lines = [
        f"| people connected | {' | '.join(f'{size:,}' for size in sizes)} |",
        "| --- |" + " ---: |" * len(sizes),
        _row("calls/s", [Crowd(size).calls_per_s for size in sizes]),
        _row("session starts/s", [Crowd(size).connects_per_s for size in sizes]),
        _row("Redis commands/s", [load.commands_per_s for load in loads]),
    ]
    lines += [
        _row(f"{_LABELS.get(name, name)}: cores kept busy", [load.cores[name] for load in loads], 2)
        for name in found.call
    ]
    return "\n".join([*lines, _row("hubs: GB of sessions", [load.sessions_gb for load in loads], 2)])


def _row(label: str, numbers: Sequence[float], digits: int = 1) -> str:
    return f"| {label} | {' | '.join(f'{n:,.0f}' if n >= 100 else f'{n:.{digits}f}' for n in numbers)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few of everything, to see that all works")
    parser.add_argument(
        "--relay-us", type=float, default=30.0, help="CPU us of a relayed message, from relay_bench"
    )
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    with opened_world(plan.people) as world:
        prepare(plan.people)
        with opened_site(world) as site:
            figures = measure(site, plan)
    print(f"Python {platform.python_version()}; {plan.calls} calls, {plan.idle:,} idle sessions\n")
    print(report(figures, plan))
    print(f"\n{crowds(prices(figures, plan, options.relay_us), SIZES)}")


if __name__ == "__main__":
    main()
