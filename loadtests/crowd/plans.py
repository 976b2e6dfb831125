"""What a person has in mind for an evening: drawn once, before it begins, so that a run can be repeated by its seed."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Shares:
    """How many of all people do what; each from 0 to 1."""

    msgpack: float = 0.5
    declines: float = 0.02
    """Do not want the match."""
    drops: float = 0.1
    """Lose the network once in a call, and come back."""
    asks_video: float = 0.5
    approves_both: float = 0.5
    approves_receive: float = 0.3
    """See without being seen; the rest denies."""
    revokes: float = 0.3
    """Of those who approved."""
    extends: float = 0.2
    agrees_to_extend: float = 0.5
    connects: float = 0.5
    """Would stay in touch; the rest passes."""
    hangs_up: float = 0.3
    """Do not wait for the clock."""
    messages: tuple[int, int] = (1, 3)
    """How many chat messages somebody writes to whom they stay in touch with: at least, at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One evening. Seconds count from the moment the call is live."""

    codec: str
    declines: bool
    drops: bool
    asks_video: bool
    approves: str | None
    """The direction of the approval, or None for a denial."""
    revokes: bool
    extends: bool
    agrees_to_extend: bool
    connects: bool
    hangs_up_after_s: float | None
    messages: int
    patience_s: float
    """How long this person waits for a partner."""


def draw(random: Random, shares: Shares, *, patience_s: float) -> Plan:
    """An evening by chance."""
    fate = random.random()
    approves = None
    if fate < shares.approves_both:
        approves = "both"
    elif fate < shares.approves_both + shares.approves_receive:
        approves = "receive"
    return Plan(
        codec="msgpack" if random.random() < shares.msgpack else "json",
        declines=random.random() < shares.declines,
        drops=random.random() < shares.drops,
        asks_video=random.random() < shares.asks_video,
        approves=approves,
        revokes=random.random() < shares.revokes,
        extends=random.random() < shares.extends,
        agrees_to_extend=random.random() < shares.agrees_to_extend,
        connects=random.random() < shares.connects,
        hangs_up_after_s=random.uniform(1.0, 3.0) if random.random() < shares.hangs_up else None,
        messages=random.randint(*shares.messages),
        patience_s=patience_s,
    )


TALKER = Shares(hangs_up=0.0, extends=0.5, asks_video=0.7)
PICKY = Shares(declines=0.3, approves_both=0.0, approves_receive=0.2, connects=0.1, hangs_up=0.8)
CHATTER = Shares(connects=1.0, hangs_up=0.1, messages=(3, 8))
DROPPER = Shares(drops=1.0, hangs_up=0.0)
LURKER = Shares(declines=0.8, connects=0.1)
