"""A storm of resumes: everybody loses the network at once and comes back, to the same node or to another.

    python -m loadtests.resume_bench            2,000 sessions, three rounds: about a minute
    python -m loadtests.resume_bench --quick    100 sessions, briefly

Two hubs. People have sessions on the first one and one unacknowledged message each; all sockets are cut; all dial again
together and send `session.resume`: first to the node that has their sessions, then to the other one, which has to ask for them.
A resume counts when `session.resumed` and the replay have come; who gets `session.ready` instead is counted as lost. Beside
them in the same run: the same people starting new sessions. The clients share the machine with hubs and stores.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

import orjson

from loadtests.edge.server_process import ServerProcess
from loadtests.hub.processes import CLIENT_CORE, cpu_seconds, prepare, running_part
from loadtests.hub.swarm import Swarm
from loadtests.hub.talk import HubTalk
from loadtests.hub.world import Account, World, opened_world

START, SAME, OTHER = "session.start", "resume on the same node", "resume on another node"
WAYS = (START, SAME, OTHER)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done."""

    people: int
    rounds: int


FULL = Plan(people=2_000, rounds=3)
QUICK = Plan(people=100, rounds=1)


class Returner(HubTalk):
    """Starts a session once and resumes it ever after; has seen nothing but the greeting."""

    def __init__(self, account: Account) -> None:
        super().__init__(account, meets=False)
        self._session_id = ""
        self.resumed = 0
        self.lost = 0
        self._owed = 0

    def opening(self) -> bytes | None:
        self.is_ready = False
        if not self._session_id:
            return super().opening()
        data = {
            "token": self._account.token,
            "device_id": self._account.user_id,
            "session_id": self._session_id,
            "last_seq": 1,
        }
        return orjson.dumps({"type": "session.resume", "data": data})

    def leave_something(self) -> bytes:
        """A request whose answer is never acknowledged, so that there is something to replay; ready when it is there."""
        self.is_ready = False
        self._owed += 1
        return orjson.dumps({"type": "presence.set", "id": next(self._ids), "data": {"away": False}})

    def heard(self, message: bytes) -> Sequence[bytes]:
        envelope = orjson.loads(message)
        match envelope["type"]:
            case "session.ready":
                self.lost += bool(self._session_id)
                self._session_id = envelope["data"]["session_id"]
                self._owed = 0
                self.is_ready = True
            case "session.resumed":
                self.resumed += 1
                self.is_ready = not self._owed
            case "ok":
                self.is_ready = envelope["seq"] > self._owed
            case _:
                return super().heard(message)
        return ()


@dataclass(slots=True)
class Seen:
    """What one way of coming took, by round."""

    per_s: list[float] = field(default_factory=list)
    hubs_us: list[float] = field(default_factory=list)
    stores_us: list[float] = field(default_factory=list)
    lost: int = 0

    def row(self, way: str) -> str:
        return f"| {way} | {median(self.per_s):,.0f} | {median(self.hubs_us):,.0f} | {median(self.stores_us):,.0f} | {self.lost} |"


HEADER = "| | a second | hubs: CPU us each | the stores': CPU us each | lost |\n| --- | ---: | ---: | ---: | ---: |"


class Storm:
    """Two hubs and people who come to them again and again."""

    def __init__(self, world: World, hubs: Sequence[ServerProcess]) -> None:
        self._world = world
        self._hubs = hubs
        self.seen = {way: Seen() for way in WAYS}

    def round(self, people: Sequence[Account]) -> None:
        """Everybody starts, loses the network, comes back where they were, loses it again, comes back elsewhere."""
        talks = [Returner(account) for account in people]
        swarm = self._come(START, talks, self._hubs[0])
        swarm.ask([talk.leave_something for talk in talks])
        swarm.close()
        self._come(SAME, talks, self._hubs[0]).close()
        self._come(OTHER, talks, self._hubs[1]).leave()

    def _come(self, way: str, talks: Sequence[Returner], hub: ServerProcess) -> Swarm:
        lost = sum(talk.lost for talk in talks)
        swarm = Swarm(hub.port)
        hubs, stores = self._hubs_s(), self._stores_s()
        seconds = swarm.connect(talks, at_once=len(talks))
        seen, count = self.seen[way], len(talks)
        seen.per_s.append(count / seconds)
        seen.hubs_us.append((self._hubs_s() - hubs) / count * 1e6)
        seen.stores_us.append((self._stores_s() - stores) / count * 1e6)
        seen.lost += sum(talk.lost for talk in talks) - lost
        return swarm

    def _hubs_s(self) -> float:
        return sum(hub.usage().cpu_s for hub in self._hubs)

    def _stores_s(self) -> float:
        return cpu_seconds(self._world.valkey_pid) + cpu_seconds(self._world.postgres_pid)


def measure(world: World, plan: Plan) -> dict[str, Seen]:
    """All rounds, each with people of its own. Raises: TimeoutError where somebody does not come back."""
    with ExitStack() as stack:
        hubs = [
            stack.enter_context(running_part(parts, None, world.environment)) for parts in ("hub", "serve")
        ]
        storm = Storm(world, hubs)
        for number in range(plan.rounds):
            print(f"round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
            storm.round(world.people[number * plan.people : (number + 1) * plan.people])
    return storm.seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one small round, to see that all works")
    plan = QUICK if parser.parse_args().quick else FULL
    with opened_world(plan.people * plan.rounds) as world:
        prepare(plan.people)
        seen = measure(world, plan)
    print(
        f"Python {platform.python_version()}; {plan.people:,} people at once, the clients on core {CLIENT_CORE}; "
        f"medians of {plan.rounds} round{'s' * (plan.rounds > 1)}\n\n{HEADER}"
    )
    for way in WAYS:
        print(seen[way].row(way))


if __name__ == "__main__":
    main()
