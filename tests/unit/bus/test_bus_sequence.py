"""Numbers between two nodes: whatever a network does to publications, frames go on in order and once, or are told as lost."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.redis.bus_sequence import GONE, OPEN, Kept, Lost, Patience, Step, Stream

PATIENCE = Patience(fill_ms=1_500, resume_ms=3_000, ask_every_ms=250, ask_apart_ms=20)


def frame(number: int) -> bytes:
    return b"%d" % number


def frames(first: int, last: int) -> list[bytes]:
    return [frame(number) for number in range(first, last + 1)]


def stream(first: int = 1) -> Stream:
    return Stream("link", first, PATIENCE, 0)


def told(steps: Sequence[Step]) -> list[str]:
    """The steps as text: numbers that went on, and ranges that are lost."""
    found: list[str] = []
    for step in steps:
        if isinstance(step, Lost):
            found.append(f"lost {step.first}-{step.last}")
        else:
            found += [each.decode() for each in step]
    return found


def test_frames_in_order_go_on_at_once() -> None:
    """Nothing waits, nothing is asked for."""
    link = stream()

    assert told(link.take(1, frames(1, 3), 1, 0)) == ["1", "2", "3"]
    assert told(link.take(4, frames(4, 4), 1, 0)) == ["4"]
    assert not link.waits
    assert link.wanted(0) == []


def test_what_comes_after_a_hole_waits_for_it_and_is_asked_for() -> None:
    """The missing ones arrive, and all go on in their order."""
    link = stream()

    assert told(link.take(3, frames(3, 4), 1, 100)) == []
    assert link.wanted(100) == [(1, 2)]
    assert told(link.take(1, frames(1, 2), 1, 105)) == ["1", "2", "3", "4"]
    assert (link.filled, link.repeats, link.held_bytes) == (2, 0, 0)
    assert not link.waits


def test_a_publication_without_frames_tells_of_a_lost_end() -> None:
    """Its number is the next one: all before it were sent."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)

    assert link.take(5, [], 1, 200) == []
    assert link.wanted(200) == [(3, 4)]
    assert told(link.take(3, frames(3, 4), 1, 210)) == ["3", "4"]


def test_an_end_that_is_known_is_no_news() -> None:
    """The last number is repeated after each burst."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)

    assert told(link.take(3, [], 1, 200)) == []
    assert not link.waits


def test_repeats_are_passed_over() -> None:
    """Whole publications, parts of them, and those that wait."""
    link = stream()
    link.take(1, frames(1, 3), 1, 0)
    link.take(6, frames(6, 7), 1, 0)

    assert link.take(2, frames(2, 3), 1, 0) == []
    assert link.take(6, frames(6, 6), 1, 0) == []
    assert told(link.take(2, frames(2, 8), 1, 0)) == ["4", "5", "6", "7", "8"]
    assert link.repeats == 2 + 1 + 4


def test_it_asks_again_but_not_for_every_frame_that_follows() -> None:
    """A busy link with one hole in it must not drown its sender in requests."""
    link = stream()
    asked_at = []
    for now_ms in range(0, 1_000, 10):
        link.take(10 + now_ms, frames(10 + now_ms, 19 + now_ms), 1, now_ms)
        if link.wanted(now_ms):
            asked_at.append(now_ms)

    assert asked_at == [0, 250, 500, 750]


def test_a_further_hole_is_asked_for_soon() -> None:
    """Together with the first, which may be on its way."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)
    first = link.wanted(0)
    link.take(6, frames(6, 6), 1, 5)

    assert first == [(1, 2)]
    assert link.wanted(5) == []
    assert link.wanted(20) == [(1, 2), (4, 5)]


def test_what_does_not_come_in_time_is_told_and_the_rest_goes_on() -> None:
    """No frame waits for longer than the patience lasts."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)
    link.take(6, frames(6, 6), 1, 1_000)

    assert link.overdue(1_499) == []
    assert told(link.overdue(1_500)) == ["lost 1-2", "3"]
    assert link.overdue(2_499) == []
    assert told(link.overdue(2_500)) == ["lost 4-5", "6"]
    assert not link.waits


def test_a_receiver_that_did_not_look_blames_nobody() -> None:
    """What was asked for lies in its socket: the patience begins anew."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)
    link.excuse(9_000)

    assert link.overdue(10_499) == []
    assert told(link.overdue(10_500)) == ["lost 1-2", "3"]

    link.resume(10_500)
    link.excuse(20_000)
    assert link.overdue(22_999) == []
    assert told(link.overdue(23_000)) == ["lost 4-0"]


def test_what_the_sender_cannot_send_again_is_given_up_at_once() -> None:
    """It says below which number it has nothing."""
    link = stream()
    link.take(8, frames(8, 8), 1, 0)

    assert told(link.take(9, [], 5, 10)) == ["lost 1-4"]
    assert told(link.take(5, frames(5, 7), 5, 20)) == ["5", "6", "7", "8"]


def test_a_sender_that_knows_nothing_of_the_link_ends_the_waiting() -> None:
    """It was started anew."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)

    assert told(link.take(1, [], GONE, 10)) == ["lost 1-2", "3"]
    assert not link.waits


def test_what_waits_is_bounded() -> None:
    """A hole before a flood is given up early, and the flood goes on."""
    link = Stream("link", 1, Patience(held_bytes=30), 0)
    steps = [step for number in range(2, 20) for step in link.take(number, [b"0123456789"], 1, 0)]

    assert told(steps[:1]) == ["lost 1-1"]
    assert sum(len(step) for step in steps[1:] if not isinstance(step, Lost)) == 18
    assert link.held_bytes == 0


def test_after_not_listening_everything_since_is_asked_for() -> None:
    """Nobody knows yet whether there was anything."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)
    link.resume(100)

    assert link.wanted(100) == [(3, OPEN)]
    assert told(link.take(3, frames(3, 5), 1, 110)) == ["3", "4", "5"]
    assert told(link.take(6, [], 1, 110)) == []
    assert not link.waits


def test_a_sender_that_does_not_answer_may_have_sent_something() -> None:
    """It has died, presumably: what was lost has no numbers."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)
    link.resume(100)

    assert link.overdue(3_099) == []
    assert link.overdue(3_100) == [Lost(3, OPEN)]
    assert not link.waits
    assert Lost(3, OPEN).count == 0


def test_a_sender_that_forgot_us_while_we_did_not_listen_may_have_sent_something() -> None:
    """The same news, only earlier."""
    link = stream()
    link.resume(100)

    assert told(link.take(1, [], GONE, 110)) == ["lost 1-0"]


def test_who_cannot_be_asked_is_never_waited_for() -> None:
    """A sender of the release before: it says what is missing with the next frame, and begins anew at 1."""
    link = stream()

    assert told(link.take_as_is(3, frames(3, 3), 0)) == ["lost 1-2", "3"]
    assert told(link.take_as_is(1, frames(1, 2), 0)) == ["1", "2"]
    assert told(link.take_as_is(3, [], 0)) == []
    assert not link.waits


def test_who_can_be_asked_later_on_is_from_then_on() -> None:
    """A process publishes before it listens: its first publications do not say where it can be asked."""
    link = stream()
    link.take_as_is(1, frames(1, 2), 0)

    assert told(link.take(5, frames(5, 5), 1, 0)) == []
    assert link.wanted(0) == [(3, 4)]


def test_a_floor_beyond_everything_known_is_borne() -> None:
    """Nobody sends one; nothing is lost by it that was not sent."""
    link = stream()

    assert told(link.take(3, frames(3, 3), 90, 0)) == ["lost 1-2", "3"]
    assert told(link.take(4, frames(4, 4), 90, 0)) == ["4"]


def test_so_many_ranges_are_asked_for_at_a_time() -> None:
    """Every other frame is lost; the rest is asked for when those have come."""
    link = stream()
    for number in range(2, 400, 2):
        link.take(number, frames(number, number), 1, 0)

    assert len(link.wanted(0)) == PATIENCE.holes


def test_publications_are_kept_within_bounds() -> None:
    """By age and by size; below the floor nothing can be had."""
    kept = Kept()
    for number in range(1, 6):
        kept.add(number * 2 - 1, number * 2, b"%d" % number * 10, number * 100)

    assert kept.find(4, 7) == [b"2" * 10, b"3" * 10, b"4" * 10]
    assert kept.find(9, OPEN) == [b"5" * 10]
    kept.expire(200)
    assert (kept.floor, kept.bytes, len(kept)) == (3, 40, 4)
    kept.trim(25)
    assert (kept.floor, kept.bytes) == (7, 20)
    kept.clear(20)
    assert (kept.floor, kept.bytes, kept.find(1, OPEN)) == (20, 0, [])


# --- whatever happens ------------------------------------------------------------------------------------------


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
            random.shuffle(late)  # type: ignore[attr-defined]
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
