"""Numbers of frames between two nodes: what is handed on, in which order, what is asked for again, and what is lost.

A link is one sender's frames to one node, numbered from 1. `Kept` is the sender's side: what it published, as it
published it, for as long as it may be asked for it. `Stream` is the receiver's: frames go on in the order of their
numbers and each of them once. Where numbers are missing, later frames wait, for a bounded time and in bounded space,
while the missing ones are asked for; what cannot be had is `Lost`, and the later ones go on without it.

Knows nothing of Redis, of inboxes and of what frames say. Times are arguments, integer milliseconds. Pure.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

GONE = -1
"""As a floor: the link is not known any more, nothing of it can be had."""
OPEN = 0
"""As the end of a range: whatever comes after its begin."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how much a receiver waits for what is missing."""

    fill_ms: int = 1_500
    """No frame waits longer than this for those before it."""
    resume_ms: int = 3_000
    """How long a sender has to say, after we were away, whether anything is missing."""
    ask_every_ms: int = 250
    ask_apart_ms: int = 20
    """Further losses within this time are asked for together."""
    held_bytes: int = 1 << 20
    """As much waits of one sender at most."""
    holes: int = 64
    """As many ranges are asked for at a time."""


@dataclass(frozen=True, slots=True)
class Lost:
    """These numbers will not come. With `last` OPEN nobody knows whether there were any."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many they are; 0 where nobody knows."""
        return 0 if self.last == OPEN else self.last - self.first + 1


Step = Sequence[bytes] | Lost
"""Frames to hand on, or the news that some are missing between those before and those after."""


class Stream:
    """What arrives of one link."""

    __slots__ = (
        "_ask_at",
        "_asked_at",
        "_held",
        "_known_to",
        "_noticed",
        "_patience",
        "_resume_until",
        "expected",
        "filled",
        "heard_at",
        "held_bytes",
        "name",
        "origin",
        "repeats",
    )

    def __init__(self, name: str, first: int, patience: Patience, now_ms: int) -> None:
        self.name = name
        self.origin = ""
        """The node whose inbox takes what we ask; empty where the sender cannot be asked."""
        self.expected = first
        """The number of the frame that is to be handed on next."""
        self.heard_at = now_ms
        self.held_bytes = 0
        self.filled = 0
        """Frames that came after they had been missed."""
        self.repeats = 0
        """Frames that came again and were passed over."""
        self._patience = patience
        self._known_to = first - 1
        self._held: dict[int, bytes] = {}
        self._noticed: deque[tuple[int, int]] = (
            deque()
        )  # that there are frames up to a number, and when we knew
        self._asked_at = -patience.ask_apart_ms
        self._ask_at = 0
        self._resume_until: int | None = None

    @property
    def waits(self) -> bool:
        """Whether `overdue` and `wanted` have to be asked from time to time."""
        return self.expected <= self._known_to or self._resume_until is not None

    def take(self, first: int, frames: Sequence[bytes], floor: int, now_ms: int) -> Sequence[Step]:
        """Takes a publication: `frames` are numbered from `first`, those below `floor` cannot be had any more.

        One without frames says which number comes next.
        """
        self.heard_at = now_ms
        if floor == GONE:
            return self._forgotten()
        self._resume_until = None
        if first == self.expected and not self._noticed:
            self._known_to += len(frames)
            self.expected += len(frames)
            return (frames,) if frames else ()
        steps: list[Step] = []
        self._hold(first, frames, now_ms)
        self._advance(steps)
        self._give_up(floor - 1, steps)
        while self.held_bytes > self._patience.held_bytes:
            self._give_up(min(self._held) - 1, steps)
        return steps

    def take_as_is(self, first: int, frames: Sequence[bytes], now_ms: int) -> Sequence[Step]:
        """Takes a publication of a sender that cannot be asked, and that begins anew at 1 when it has forgotten us."""
        self.heard_at = now_ms
        missed = Lost(self.expected, first - 1)
        self.expected = first + len(frames)
        self._known_to = self.expected - 1
        return (missed, frames) if missed.count > 0 else (frames,)

    def resume(self, now_ms: int) -> None:
        """We have not listened for a while: whatever the sender has sent meanwhile has to be asked for."""
        self._resume_until = now_ms + self._patience.resume_ms
        self._ask_at = now_ms

    def overdue(self, now_ms: int) -> Sequence[Step]:
        """Gives up what was waited for long enough."""
        steps: list[Step] = []
        number = 0
        while self._noticed and self._noticed[0][1] + self._patience.fill_ms <= now_ms:
            number = self._noticed.popleft()[0]
        self._give_up(number, steps)
        if self._resume_until is not None and self._resume_until <= now_ms:
            self._resume_until = None
            steps.append(Lost(self._known_to + 1, OPEN))
        return steps

    def excuse(self, now_ms: int) -> None:
        """Counts all waiting from now: it was us who did not read what came."""
        self._noticed = deque((number, now_ms) for number, _ in self._noticed)
        if self._resume_until is not None:
            self._resume_until = now_ms + self._patience.resume_ms

    def give_up(self) -> Sequence[Step]:
        """Waits for nothing any more."""
        steps: list[Step] = []
        self._give_up(self._known_to, steps)
        return steps

    def wanted(self, now_ms: int) -> list[tuple[int, int]]:
        """The ranges to ask for at this moment, none where it is not the time; counts as having asked."""
        if not self.waits or now_ms < self._ask_at:
            return []
        self._asked_at = now_ms
        self._ask_at = now_ms + self._patience.ask_every_ms
        found = []
        begin = self.expected
        for number in sorted(self._held):
            if number > begin:
                found.append((begin, number - 1))
            begin = number + 1
        if self._resume_until is not None:
            found.append((begin, OPEN))
        elif begin <= self._known_to:
            found.append((begin, self._known_to))
        return found[: self._patience.holes]

    def _forgotten(self) -> Sequence[Step]:
        steps = self.give_up()
        if self._resume_until is None:
            return steps
        self._resume_until = None
        return (*steps, Lost(self.expected, OPEN))

    def _hold(self, first: int, frames: Sequence[bytes], now_ms: int) -> None:
        last = first + len(frames) - 1
        if first > self._known_to + 1:
            self._ask_at = max(now_ms, self._asked_at + self._patience.ask_apart_ms)
        for number, frame in enumerate(frames, first):
            if number < self.expected or number in self._held:
                self.repeats += 1
                continue
            self.filled += number <= self._known_to
            self._held[number] = frame
            self.held_bytes += len(frame)
        if last > self._known_to:
            self._known_to = last
            self._noticed.append((last, now_ms))

    def _advance(self, steps: list[Step]) -> None:
        run: list[bytes] = []
        while (frame := self._held.pop(self.expected, None)) is not None:
            run.append(frame)
            self.held_bytes -= len(frame)
            self.expected += 1
        if run:
            steps.append(run)

    def _give_up(self, number: int, steps: list[Step]) -> None:
        """Up to this number nothing is waited for any more."""
        # A sender may name any floor.
        number = min(number, self._known_to)
        while self.expected <= number:
            last = min(min(self._held, default=self._known_to + 1) - 1, number)
            steps.append(Lost(self.expected, last))
            self.expected = last + 1
            self._advance(steps)
        if self.expected > self._known_to:
            self._noticed.clear()


class Kept:
    """What went out on one link, as it was published."""

    __slots__ = ("_batches", "bytes", "floor")

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int, int, bytes]] = deque()
        self.bytes = 0
        self.floor = 1
        """Below this number nothing can be had any more."""

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, first: int, last: int, payload: bytes, now_ms: int) -> None:
        self._batches.append((first, last, now_ms, payload))
        self.bytes += len(payload)

    def find(self, first: int, last: int) -> list[bytes]:
        """The publications that hold any of these numbers, in order; `last` may be OPEN."""
        return [
            payload
            for begin, end, _, payload in self._batches
            if end >= first and (last == OPEN or begin <= last)
        ]

    def drop_oldest(self) -> None:
        _, last, _, payload = self._batches.popleft()
        self.bytes -= len(payload)
        self.floor = last + 1

    def trim(self, most_bytes: int) -> None:
        """Lets go of the oldest until no more than so much is left."""
        while self.bytes > most_bytes:
            self.drop_oldest()

    def expire(self, sent_before_ms: int) -> None:
        """Lets go of what left before this moment."""
        while self._batches and self._batches[0][2] < sent_before_ms:
            self.drop_oldest()

    def clear(self, floor: int) -> None:
        """Lets go of everything: what comes below `floor` was never sent."""
        self._batches.clear()
        self.bytes = 0
        self.floor = floor
