"""Whatever happens on the way: frames go on in order and once, or are told as lost."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.redis.bus_sequence import GONE, OPEN, Kept, Lost, Step
from tests.unit.bus.links import PATIENCE, frames, stream, told


@dataclass
class Sender:
    """One incarnation of a sender, its link to us, and what it knows."""

    name: int
    is_alive: bool = True
    sent: int = 0
    kept: Kept = field(default_factory=Kept)

    def publish(self, count: int, now_ms: int) -> "Publication":
        first = self.sent + 1
        self.sent += count
        self.kept.add(first, self.sent, b"%d %d" % (first, count), now_ms)
        return Publication(self.name, first, count, self.kept.floor)

    def drop(self, count: int) -> None:
        """Frames that could not leave have their numbers all the same."""
        self.sent += count
        self.kept.clear(self.sent + 1)

    def last_number(self) -> "Publication":
        return Publication(self.name, self.sent + 1, 0, self.kept.floor)

    def again(self, ranges: Sequence[tuple[int, int]]) -> list["Publication"]:
        found = []
        for first, last in ranges:
            for payload in self.kept.find(first, last):
                begin, count = map(int, payload.split())
                found.append(Publication(self.name, begin, count, 1))
        return [*found, self.last_number()]


@dataclass(frozen=True)
class Publication:
    sender: int
    first: int
    count: int
    floor: int


class World:
    """Senders, one after the other, a network, and the one who listens."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.senders = [Sender(0)]
        self.streams = {0: stream()}
        self.steps: dict[int, list[Step]] = {0: []}
        self.late: list[Publication] = []

    @property
    def sender(self) -> Sender:
        return self.senders[-1]

    def arrive(self, publication: Publication) -> None:
        link = self.streams[publication.sender]
        count = publication.count
        sent = frames(publication.first, publication.first + count - 1)
        self.steps[publication.sender] += link.take(publication.first, sent, publication.floor, self.now_ms)

    def carry(self, publication: Publication, fate: str) -> None:
        if fate == "late":
            self.late.append(publication)
            return
        if fate != "lost":
            self.arrive(publication)
        if fate == "twice":
            self.arrive(publication)

    def restart(self, *, dies: bool) -> None:
        """The sender is another process, or has forgotten the link and begins another one."""
        self.sender.is_alive = not dies
        self.senders.append(Sender(len(self.senders)))
        self.streams[self.sender.name] = stream()
        self.steps[self.sender.name] = []

    def pass_time(self, span_ms: int, fates: Sequence[str] = ("heard",)) -> None:
        self.now_ms += span_ms
        for sender in self.senders:
            link = self.streams[sender.name]
            self.steps[sender.name] += link.overdue(self.now_ms)
            ranges = link.wanted(self.now_ms)
            if not ranges or not sender.is_alive or fates[0] == "lost":
                continue
            if sender is not self.sender:
                self.arrive(Publication(sender.name, 1, 0, GONE))
                continue
            for number, publication in enumerate(sender.again(ranges)):
                self.carry(publication, fates[number % len(fates)])


FATES = st.sampled_from(["heard", "heard", "heard", "lost", "twice", "late"])
ACTIONS = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 4), FATES),
    st.tuples(st.just("publish"), st.integers(1, 4), FATES),
    st.tuples(st.just("say the last number"), FATES),
    st.tuples(st.just("pass time"), st.sampled_from([5, 60, 400, 2_000]), st.lists(FATES, min_size=1, max_size=4)),
    st.tuples(st.just("late ones arrive"), st.randoms(use_true_random=False)),
    st.tuples(st.just("drop"), st.integers(1, 3)),
    st.tuples(st.just("forget"), st.integers(0, 30)),
    st.tuples(st.just("come back")),
    st.tuples(st.just("restart"), st.booleans()),
)  # fmt: skip


def act(world: World, action: tuple[object, ...]) -> None:
    match action:
        case ("publish", int(count), str(fate)):
            world.carry(world.sender.publish(count, world.now_ms), fate)
        case ("say the last number", str(fate)):
            world.carry(world.sender.last_number(), fate)
        case ("pass time", int(span_ms), list(fates)):
            world.pass_time(span_ms, fates)
        case ("late ones arrive", random):
            late, world.late = world.late, []
            random.shuffle(late)  # type: ignore[attr-defined]  # drawn with the action
            for publication in late:
                world.arrive(publication)
        case ("drop", int(count)):
            world.sender.drop(count)
        case ("forget", int(most_bytes)):
            world.sender.kept.trim(most_bytes)
        case ("come back",):
            world.streams[world.sender.name].resume(world.now_ms)
        case ("restart", bool(dies)):
            world.restart(dies=dies)
        case _:
            pytest.fail(f"{action} is not known")


@settings(max_examples=500, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_frames_go_on_in_order_and_once_or_are_told_as_lost(actions: list[tuple[object, ...]]) -> None:
    """Whatever is lost, repeated, late or forgotten, and however often the sender begins anew."""
    world = World()
    for action in actions:
        act(world, action)
    # In the end the network is well: the end of the link is told, and there is time to ask.
    world.arrive(world.sender.last_number())
    for _ in range(40):
        world.pass_time(100)

    for sender in world.senders:
        accounted = []
        for step in world.steps[sender.name]:
            if isinstance(step, Lost):
                accounted += range(step.first, step.last + 1) if step.last != OPEN else []
            else:
                accounted += [int(each) for each in step]
        # Of one that begins anew, or dies, the end of the link may never be known.
        ends_at = sender.sent if sender is world.sender else len(accounted)
        assert accounted == list(range(1, ends_at + 1))
        assert not world.streams[sender.name].waits
        assert world.streams[sender.name].held_bytes == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), FATES), max_size=40))
def test_nothing_is_lost_that_the_sender_has_kept(publications: list[tuple[int, str]]) -> None:
    """As long as requests and answers get through, losses of publications are no losses of frames."""
    world = World()
    for count, fate in publications:
        world.carry(world.sender.publish(count, world.now_ms), fate)
        world.pass_time(20)
    world.arrive(world.sender.last_number())
    world.pass_time(PATIENCE.ask_every_ms)
    for publication in world.late:
        world.arrive(publication)

    assert told(world.steps[0]) == [str(number) for number in range(1, world.sender.sent + 1)]
