"""A link between two nodes as its receiver keeps it, with frames that are their own numbers."""

from collections.abc import Sequence

from storage.redis.bus_sequence import Lost, Patience, Step, Stream

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
