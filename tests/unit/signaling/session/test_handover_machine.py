"""One session and some nodes that want it, with frames that take their time, arrive late or not at all."""

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from base.ids import NodeId, SessionId
from signaling.node_frames import (
    NodeFrame,
    SessionForwarded,
    SessionGone,
    SessionState,
    SessionTaken,
    SessionWanted,
)
from signaling.session.crossing_effects import Effect, Freeze, Give, GiveUp, Land, Refusal, Send
from signaling.session.handover import Crossing

S = SessionId("session")
NODES = tuple(NodeId(name) for name in "abcd")


@dataclass
class Live:
    """The session, where it is: what it was told, and under which generation."""

    generation: int
    told: list[int]
    busy: bool = False
    frozen: bool = False


@dataclass
class Node:
    """A node: its state machine, the session if it has it, and whether a client waits there."""

    name: NodeId
    crossing: Crossing
    live: Live | None = None
    waits_under: int | None = None
    given_up: list[Refusal] = field(default_factory=list)


class World:
    """The row in the store, the nodes, and the frames that are on their way between each two."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.row = (NODES[0], 1)
        self.nodes = {name: Node(name, Crossing(S, name)) for name in NODES}
        self.nodes[NODES[0]].live = Live(1, [])
        self.way: dict[tuple[NodeId, NodeId], deque[NodeFrame]] = defaultdict(deque)
        self.messages = 0
        self.is_lost = False
        """Whether the session is over, or frames of it were lost: then it may be that nobody has it."""

    @property
    def holders(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.live is not None]

    # What happens.

    def resume(self, name: NodeId) -> None:
        """A client comes to a node: it sets the row, and asks whoever the row named."""
        node, (holder, generation) = self.nodes[name], self.row
        if holder == name and node.live is None and not node.crossing.is_awaited:
            went_to = node.crossing.went_to
            if went_to is None:
                return  # nobody knows of it: a new session begins
            holder = went_to
        self.row = (name, generation + 1)
        if node.live is not None:
            node.live.generation = generation + 1
            node.live.frozen = False
            self.do(node, node.crossing.kept(generation + 1))
            return
        node.waits_under = generation + 1
        self.do(node, node.crossing.claimed(generation + 1, holder, self.now_ms))

    def tell(self, name: NodeId) -> None:
        """A message for the session arrives at a node, which takes it to be there."""
        node = self.nodes[name]
        if node.live is not None:
            self.messages += 1
            node.live.told.append(self.messages)
        elif node.crossing.catches:
            self.messages += 1
            self.do(node, node.crossing.caught(str(self.messages).encode()))

    def deliver(self, pair: tuple[NodeId, NodeId]) -> None:
        """The next frame from one to another arrives."""
        if not self.way[pair]:
            return
        frame, node = self.way[pair].popleft(), self.nodes[pair[1]]
        match frame:
            case SessionWanted():
                here = None if node.live is None else node.live.generation
                self.do(node, node.crossing.wanted(frame, self.now_ms, here))
            case SessionState():
                self.do(node, node.crossing.piece(frame, self.now_ms))
            case SessionGone():
                self.do(node, node.crossing.refused(frame, self.now_ms))
            case SessionForwarded():
                if node.crossing.catches:
                    self.do(node, node.crossing.caught(frame.frame, frame.hops))
                elif node.live is not None:
                    node.live.told.append(int(frame.frame))
            case SessionTaken(_, generation):
                self.do(node, node.crossing.taken(generation))
                if node.live is not None and not 0 < generation <= node.live.generation:
                    node.live = None
            case _:
                raise AssertionError(frame)

    def look(self, name: NodeId) -> None:
        node = self.nodes[name]
        busy = node.live is not None and node.live.busy
        self.do(node, node.crossing.look(self.now_ms, busy=busy))

    def settle(self) -> None:
        """Everything arrives, and everybody's time passes."""
        for _ in range(400):
            waiting = [pair for pair, frames in self.way.items() if frames]
            for pair in waiting:
                self.deliver(pair)
            for name in NODES:
                self.look(name)
            if not waiting:
                if not any(
                    node.crossing.is_awaited or node.crossing.is_leaving for node in self.nodes.values()
                ):
                    return
                self.now_ms += 100
        raise AssertionError("it goes on for ever")

    # What the nodes do.

    def do(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, frame):
                    assert to != node.name, "nobody talks to themselves"
                    self.way[node.name, to].append(frame)
                case Freeze():
                    assert node.live is not None
                    node.live.frozen = True
                case Give():
                    assert node.live is not None
                    state = json.dumps(node.live.told).encode()
                    node.live = None
                    self.do(node, node.crossing.given(state, self.now_ms))
                case Land(generation, state, held, complete):
                    assert node.waits_under is not None, "it lands where somebody waits"
                    assert complete
                    told = json.loads(state) + [int(payload) for payload in held]
                    node.live, node.waits_under = Live(generation, told), None
                case GiveUp(reason):
                    node.waits_under = None
                    node.given_up.append(reason)


STEPS = st.one_of(
    st.tuples(st.just("resume"), st.sampled_from(NODES)),
    st.tuples(st.just("tell"), st.sampled_from(NODES)),
    st.tuples(st.just("deliver"), st.tuples(st.sampled_from(NODES), st.sampled_from(NODES))),
    st.tuples(st.just("deliver"), st.tuples(st.sampled_from(NODES), st.sampled_from(NODES))),
    st.tuples(st.just("look"), st.sampled_from(NODES)),
    st.tuples(st.just("pass"), st.sampled_from((5, 100, 400))),
    st.tuples(st.just("busy"), st.booleans()),
)
FAITHFUL = settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def play(world: World, step: tuple[str, object], *, loses: bool = False) -> None:
    match step:
        case "resume", str() as name:
            world.resume(NodeId(name))
        case "tell", str() as name:
            world.tell(NodeId(name))
        case "deliver", (str() as sender, str() as receiver):
            world.deliver((NodeId(sender), NodeId(receiver)))
        case "lose", (str() as sender, str() as receiver):
            if loses and world.way[NodeId(sender), NodeId(receiver)]:
                world.way[NodeId(sender), NodeId(receiver)].popleft()
        case "look", str() as name:
            world.look(NodeId(name))
        case "pass", int() as passed:
            world.now_ms += passed
        case "busy", bool() as busy:
            for node in world.holders:
                assert node.live is not None
                node.live.busy = busy
        case _:
            raise AssertionError(step)


@FAITHFUL
@given(st.lists(STEPS, max_size=60))
def test_at_most_one_node_has_the_session_and_the_newest_claim_wins(steps: list[tuple[str, object]]) -> None:
    """Whoever comes where and when: once all has arrived, whoever set the row last has the session, or nobody has."""
    world = World()
    for step in steps:
        play(world, step)

        assert len(world.holders) <= 1
    for node in world.holders:
        assert node.live is not None
        node.live.busy = False
    world.settle()

    assert len(world.holders) <= 1
    assert not any(node.waits_under for node in world.nodes.values()), "everybody was answered"
    for node in world.holders:
        assert node.live is not None
        assert node.live.generation <= world.row[1]
        if (node.name, node.live.generation) != world.row:
            # Its own row was set by somebody who gave up for time: the client there begins anew, and ends this one.
            assert world.nodes[world.row[0]].given_up


@FAITHFUL
@given(st.lists(STEPS.filter(lambda step: step[0] not in ("pass", "busy")), max_size=60))
def test_nothing_that_was_told_is_lost_or_doubled(steps: list[tuple[str, object]]) -> None:
    """As long as nobody has to give up: what any node took for the session is there in the end, once."""
    world = World()
    for step in steps:
        play(world, step)
    world.settle()
    [holder] = world.holders
    assert holder.live is not None

    assert (holder.name, holder.live.generation) == world.row
    assert sorted(holder.live.told) == list(range(1, world.messages + 1))


@FAITHFUL
@given(
    st.lists(
        st.one_of(
            STEPS,
            st.tuples(st.just("lose"), st.tuples(st.sampled_from(NODES), st.sampled_from(NODES))),
        ),
        max_size=60,
    )
)
def test_lost_frames_cost_the_session_and_never_double_it(steps: list[tuple[str, object]]) -> None:
    """Everybody is answered in time, and what is told is still told once."""
    world = World()
    for step in steps:
        play(world, step, loses=True)
    for node in world.holders:
        assert node.live is not None
        node.live.busy = False
    world.settle()

    assert len(world.holders) <= 1
    assert not any(node.waits_under for node in world.nodes.values())
    for node in world.holders:
        assert node.live is not None
        assert len(node.live.told) == len(set(node.live.told))


def test_a_node_that_does_not_answer_is_not_waited_for() -> None:
    """After a second it is given up, and told not to go on with the session should it wake up."""
    world = World()
    world.resume(NODES[1])
    world.way.clear()
    world.now_ms = 999
    world.look(NODES[1])
    early = list(world.nodes[NODES[1]].given_up)
    world.now_ms = 1_000
    world.look(NODES[1])
    world.settle()

    assert early == []
    assert world.nodes[NODES[1]].given_up == [Refusal.NO_ANSWER]
    assert world.holders == []


def test_a_command_that_does_not_end_keeps_the_session_from_going() -> None:
    """Half a second is waited for it. A state that a command still changes is never given."""
    world = World()
    live = world.nodes[NODES[0]].live
    assert live is not None
    live.busy = True
    world.resume(NODES[1])
    world.deliver((NODES[1], NODES[0]))
    world.now_ms = 499
    world.look(NODES[0])
    waiting = not world.way[NODES[0], NODES[1]]
    world.now_ms = 500
    world.look(NODES[0])
    world.settle()

    assert waiting
    assert world.nodes[NODES[1]].given_up == [Refusal.BUSY]


def test_what_arrives_late_is_sent_on_for_a_minute() -> None:
    """And a large session comes in pieces, each asked for."""
    world = World()
    first, second = world.nodes[NODES[0]], world.nodes[NODES[1]]
    assert first.live is not None
    first.live.told = list(range(1, 20_001))
    world.messages = 20_000
    world.resume(NODES[1])
    world.settle()
    world.now_ms += 50_000
    world.tell(NODES[0])
    world.settle()
    world.now_ms += 10_001
    world.look(NODES[0])
    sent = world.messages
    world.tell(NODES[0])
    assert second.live is not None

    assert len(second.live.told) == 20_001
    assert (world.messages, first.crossing.look_at) == (sent, None)
