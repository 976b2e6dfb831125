"""The history put in order for the rules: sessions, requests with their answers, calls as each of their people saw them.

Judges nothing. What a session numbered counts once: the first time, in order, as a good client takes it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from tests.chaos.history import NOBODY, SLOW, Entry, History, Message

_WAITING_MAX: Final = 64
"""No client has more requests under way."""


@dataclass(slots=True)
class Ask:
    """A request: when it was first sent in its session, and what came of it."""

    sent: Entry
    reply: Entry | None = None
    asked_ms: float = 0.0
    """When it was last sent, or when the server last said that it had been handled before."""

    @property
    def type(self) -> str:
        return self.sent.type

    @property
    def done(self) -> bool:
        return self.reply is not None and self.reply.type == "ok"

    @property
    def may_be_done(self) -> bool:
        """Whether it may have been done: also where nobody answered, or only that nobody could say."""
        return self.reply is None or self.done or bool(self.reply.body["retryable"])

    @property
    def code(self) -> str:
        """How it was refused; empty where it was not."""
        return str(self.reply.body["code"]) if self.reply is not None and self.reply.type == "error" else ""


@dataclass(frozen=True, slots=True)
class View:
    """A call as one of its people was told it."""

    entry: Entry
    data: Message
    in_snapshot: bool

    @property
    def version(self) -> int:
        return int(self.data["version"])

    @property
    def state(self) -> str:
        return str(self.data["state"])


@dataclass(slots=True)
class Tale:
    """One call as one person lived it."""

    who: int
    call: str
    heard: list[Entry] = field(default_factory=list)
    """Every message about it, and the first messages of sessions that had it in their snapshot."""
    views: list[View] = field(default_factory=list)
    found: Message | None = None
    """What was first told of seat, role and peer."""
    ended: Entry | None = None
    """`call.ended`, the first."""
    over: Entry | None = None
    """What made an end of it for this person: `call.ended`, or a snapshot without it."""
    asks: list[Ask] = field(default_factory=list)

    @property
    def seat(self) -> str:
        return str((self.found or {}).get("seat", ""))

    @property
    def role(self) -> str:
        return str((self.found or {}).get("role", ""))

    @property
    def began(self) -> Entry:
        return self.heard[0]


@dataclass(frozen=True, slots=True)
class Span:
    """A session on a socket. The history's milliseconds."""

    from_ms: float
    to_ms: float
    session: str


class Story:
    """Everything the rules ask for, from one pass over the history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.asks: list[Ask] = []
        self.asked: dict[tuple[int, str, int], Ask] = {}
        self.accepted: dict[int, list[Entry]] = defaultdict(list)
        """By person: what was heard for the first time, and what was sent, in order."""
        self.numbering: list[tuple[str, Entry, int]] = []
        """What was heard out of order: `gap` or `repeat`, with the number that was expected."""
        self.second_replies: list[Entry] = []
        self.tales: dict[tuple[int, str], Tale] = {}
        self.attached: dict[int, list[Span]] = defaultdict(list)
        """By person: from when to when which session had a socket."""
        self._by_call: dict[str, list[Tale]] = defaultdict(list)
        self._by_person: dict[int, list[Tale]] = defaultdict(list)
        self._seqs: dict[tuple[int, str], int] = {}
        self._since: dict[int, tuple[float, str]] = {}
        self._skew_ms: float | None = None
        self.slow: list[tuple[float, float]] = []
        """When the swarm itself had no time to hear: from, to."""
        for entry in history:
            if entry.who != NOBODY:
                self._read(entry)
            elif entry.kind == "note" and entry.data["what"] == SLOW:
                self.slow.append((entry.at_ms - entry.data["ms"], entry.at_ms))
        end_ms = history.entries[-1].at_ms if history.entries else 0.0
        for who, (since, session) in self._since.items():
            self.attached[who].append(Span(since, end_ms, session))

    def server_ms(self, at_ms: float) -> float:
        """The server's clock at a moment of the history. By the quickest message of all, so never ahead of it."""
        return at_ms + (self._skew_ms or 0.0)

    def local_ms(self, server_ms: float) -> float:
        """The moment of the history at which the server's clock showed a time."""
        return server_ms - (self._skew_ms or 0.0)

    def was_attached(self, who: int, from_ms: float, to_ms: float) -> bool:
        """Whether a person had one session's socket for the whole time."""
        return any(span.from_ms <= from_ms and span.to_ms >= to_ms for span in self.attached[who])

    def longest_absence(self, who: int, from_ms: float, to_ms: float) -> float:
        """For how long at a stretch a person had no socket, of absences that touch this time."""
        return max(
            (
                after.from_ms - before.to_ms
                for before, after in pairwise(self.attached[who])
                if before.to_ms <= to_ms and after.from_ms >= from_ms
            ),
            default=0.0,
        )

    def calls(self) -> Mapping[str, list[Tale]]:
        """The tales by call."""
        return self._by_call

    def tales_of(self, who: int) -> Sequence[Tale]:
        """The calls of a person, in the order in which they heard of them."""
        return self._by_person[who]

    # How it is read.

    def _read(self, entry: Entry) -> None:
        if entry.kind == "sent":
            self._read_sent(entry)
        elif entry.kind == "heard":
            self._read_heard(entry)
        else:
            if entry.kind in ("opened", "shut"):
                self._detach(entry)
            self.accepted[entry.who].append(entry)

    def _read_sent(self, entry: Entry) -> None:
        number = entry.data.get("id")
        if number is not None:
            key = (entry.who, entry.session, number)
            if key in self.asked:
                self.asked[key].asked_ms = entry.at_ms  # again, after a resume
                return
            ask = self.asked[key] = Ask(entry, asked_ms=entry.at_ms)
            self.asks.append(ask)
            if entry.call:
                self._tale(entry.who, entry.call).asks.append(ask)
        self.accepted[entry.who].append(entry)

    def _read_heard(self, entry: Entry) -> None:
        now = entry.body.get("server_now")
        if now is not None:
            skew_ms = now - entry.at_ms
            self._skew_ms = skew_ms if self._skew_ms is None else max(self._skew_ms, skew_ms)
        if not self._is_next(entry):
            return
        self.accepted[entry.who].append(entry)
        number = entry.data.get("id")
        if number is not None and entry.type in ("ok", "error"):
            ask = self.asked.get((entry.who, entry.session, number))
            if ask is None or ask.reply is not None:
                self.second_replies.append(entry)
            else:
                ask.reply = entry
        if entry.type in ("session.ready", "session.resumed"):
            self._since.setdefault(entry.who, (entry.at_ms, entry.session))
        if entry.type == "session.ready":
            self._read_snapshot(entry)
        elif entry.type == "session.resumed":
            self._read_resumed(entry)
        elif entry.call:
            self._read_call(entry)

    def _is_next(self, entry: Entry) -> bool:
        seq = entry.data.get("seq")
        key = (entry.who, entry.session)
        if entry.type == "session.ready":
            self._seqs[key] = seq or 0
            return True
        if seq is None:
            return True
        expected = self._seqs.get(key, 0) + 1
        if seq == expected:
            self._seqs[key] = seq
            return True
        self.numbering.append(("gap" if seq > expected else "repeat", entry, expected))
        if seq > expected:
            self._seqs[key] = seq
        return False

    def _read_snapshot(self, entry: Entry) -> None:
        view = entry.body["snapshot"].get("call")
        for tale in self.tales_of(entry.who):
            if tale.over is None and tale.heard and (view is None or view["call_id"] != tale.call):
                tale.over = entry
        if view is not None:
            tale = self._tale(entry.who, view["call_id"])
            tale.heard.append(entry)
            tale.found = tale.found or view
            tale.views.append(View(entry, view, in_snapshot=True))

    def _read_resumed(self, entry: Entry) -> None:
        for number in range(entry.body["last_id"], max(0, entry.body["last_id"] - _WAITING_MAX), -1):
            ask = self.asked.get((entry.who, entry.session, number))
            if ask is not None and ask.reply is None:
                ask.asked_ms = entry.at_ms

    def _read_call(self, entry: Entry) -> None:
        tale = self._tale(entry.who, entry.call)
        tale.heard.append(entry)
        if entry.type == "match.found":
            tale.found = tale.found or entry.body
        elif entry.type == "call.state":
            tale.found = tale.found or entry.body
            tale.views.append(View(entry, entry.body, in_snapshot=False))
        elif entry.type == "call.ended":
            tale.ended = tale.ended or entry
            tale.over = tale.over or entry

    def _detach(self, entry: Entry) -> None:
        since = self._since.pop(entry.who, None)
        if since is not None:
            self.attached[entry.who].append(Span(since[0], entry.at_ms, since[1]))

    def _tale(self, who: int, call: str) -> Tale:
        tale = self.tales.get((who, call))
        if tale is None:
            tale = self.tales[who, call] = Tale(who, call)
            self._by_call[call].append(tale)
            self._by_person[who].append(tale)
        return tale


@dataclass(frozen=True, slots=True)
class Mode:
    """What a run may excuse. Spans are of the history's milliseconds."""

    away: Sequence[tuple[float, float]] = ()
    """Redis could not be reached, or a process was paused: nothing was decided in time."""
    lossy: Sequence[tuple[float, float]] = ()
    """Acknowledged writes were lost."""
    alone: Sequence[tuple[float, float]] = ()
    """A hub could not store what it told, and no other knew of it."""
    sessions_survive: bool = False
    """No hub died and no outbox ran over."""
    late_ms: float = 1500.0
    """How long after its deadline a state may be told to be over: a second, and what the machine needs."""

    def was_away(self, from_ms: float, to_ms: float) -> bool:
        return _meets(self.away, from_ms, to_ms) or self.lost(from_ms, to_ms)

    def told_alone(self, told: Entry, heard: Entry) -> bool:
        """Whether another node, on which somebody began anew, could not know what they had been told."""
        is_new = told.number < heard.number and told.session != heard.session
        return is_new and any(since <= told.at_ms and heard.at_ms <= until for since, until in self.alone)

    def calm_from(self, at_ms: float, for_ms: float) -> float:
        """The first moment from `at_ms` on after which nothing is excused for so long."""
        for since, until in sorted((*self.away, *self.lossy)):
            if since <= at_ms + for_ms and until >= at_ms:
                at_ms = until + 1
        return at_ms

    def lost(self, from_ms: float, to_ms: float) -> bool:
        return _meets(self.lossy, from_ms, to_ms)


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, with the lines that show it."""

    rule: str
    what: str
    lines: tuple[Entry, ...] = ()

    def as_text(self) -> str:
        return "\n".join([f"[{self.rule}] {self.what}", *(f"    {line.as_text()}" for line in self.lines)])


def lines(*entries: Entry | None) -> tuple[Entry, ...]:
    """Those that there are, in order."""
    return tuple(sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.number))


def snapshot_of(entry: Entry) -> dict[str, Any]:
    """The snapshot in `session.ready`."""
    snapshot: dict[str, Any] = entry.body["snapshot"]
    return snapshot


def _meets(spans: Sequence[tuple[float, float]], from_ms: float, to_ms: float) -> bool:
    return any(since <= to_ms and until >= from_ms for since, until in spans)
