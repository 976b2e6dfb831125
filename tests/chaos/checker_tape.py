"""Histories made by hand: what two people hear in a good evening, for planting something bad in it; which rules that breaks."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.chaos.checker import Mode, check
from tests.chaos.history import Entry, History
from tests.chaos.readings import KeptCall, KeptMessage, Readings

SERVER_MS: Final = 1_000_000
"""What the server's clock shows when the history's shows zero."""

CALL: Final = "call-1"
CHAT: Final = "connection-1"
_SEATS: Final = {0: "a", 1: "b"}
_ROLES: Final = {0: "controller", 1: "guest"}


@dataclass
class Person:
    """One person's end: which session and socket, and how far its numbers have come."""

    session: str = ""
    socket: int = 0
    seq: int = 0
    request: int = 0


class Tape:
    """Writes a history, message by message; `at_ms` moves by a millisecond with each."""

    def __init__(self) -> None:
        self.history = History()
        self.at_ms = 0.0
        self.people: defaultdict[int, Person] = defaultdict(Person)

    @property
    def now(self) -> int:
        """The server's clock."""
        return int(SERVER_MS + self.at_ms)

    def wait(self, ms: float) -> "Tape":
        self.at_ms += ms
        return self

    def begins(self, who: int, *, ticket: Any = None, call: Any = None) -> Entry:
        """A new session on a new socket."""
        person = self.people[who]
        self.opens(who)
        self.says(who, "session.start")
        person.session, person.seq = f"session-{who}-{person.socket}", 0
        snapshot = {"presence": "online", "ticket": ticket, "call": call, "unread": {}}
        return self.hears(who, "session.ready", session_id=person.session, resumed=False, snapshot=snapshot)

    def resumes(self, who: int, last_id: int | None = None) -> Entry:
        """The same session on a new socket; the server has handled all that was asked, or up to `last_id`."""
        self.opens(who)
        self.says(who, "session.resume", session_id=self.people[who].session, last_seq=self.people[who].seq)
        handled = self.people[who].request if last_id is None else last_id
        return self.hears(who, "session.resumed", numbered=False, last_id=handled)

    def opens(self, who: int) -> Entry:
        self.people[who].socket += 1
        return self._add(who, "opened", {"at": "http://hub"})

    def loses(self, who: int, code: int | None = None) -> Entry:
        """The socket is gone, by the other end or by the network."""
        return self._add(who, "shut", {"by": "them", "code": code})

    def hears(
        self, who: int, type_: str, *, numbered: bool = True, answers: int | None = None, **body: Any
    ) -> Entry:
        message: dict[str, Any] = {"type": type_}
        if answers is not None:
            message["id"] = answers
        if numbered:
            self.people[who].seq += 1
            message["seq"] = self.people[who].seq
        return self._add(who, "heard", {**message, "data": {"server_now": self.now, **body}})

    def says(self, who: int, type_: str, **body: Any) -> Entry:
        """A message without a number, or one that is never answered."""
        return self._add(who, "sent", {"type": type_, "data": body})

    def asks(self, who: int, type_: str, **body: Any) -> int:
        """A request; its number."""
        self.people[who].request += 1
        number = self.people[who].request
        self._add(who, "sent", {"type": type_, "id": number, "data": body})
        return number

    def done(self, who: int, type_: str, reply: Any = None, **body: Any) -> int:
        """A request and its `ok`."""
        number = self.asks(who, type_, **body)
        self.hears(who, "ok", answers=number, **(reply or {}))
        return number

    def refused(self, who: int, type_: str, code: str, *, retryable: bool = False, **body: Any) -> Entry:
        """A request and its `error`."""
        number = self.asks(who, type_, **body)
        return self.hears(who, "error", answers=number, code=code, message=code, retryable=retryable)

    def notes(self, who: int, what: str, **more: Any) -> Entry:
        return self._add(who, "note", {"what": what, **more})

    # A call, in its stations.

    def joins(self, who: int, ticket: str) -> None:
        self.done(who, "queue.join", {"ticket_id": ticket, "queued_at": self.now}, intent="dating")

    def matched(self, *whos: int, call: str = CALL) -> None:
        for who in whos or (0, 1):
            self.hears(
                who,
                "match.found",
                call_id=call,
                intent="dating",
                seat=_SEATS[who],
                role=_ROLES[who],
                offerer=_SEATS[who] == "a",
                peer={"first_name": f"Person {1 - who}"},
                accept_by_at=self.now + 5000,
            )

    def view(self, who: int, version: int, state: str, **more: Any) -> dict[str, Any]:
        return {
            "call_id": CALL,
            "intent": "dating",
            "version": version,
            "state": state,
            "role": _ROLES[who],
            "seat": _SEATS[who],
            "peer": {"first_name": f"Person {1 - who}"},
            "video_allowed": {"a": False, "b": False},
            "server_now": self.now,
            "ends_at": None,
            "deadline_at": self.now + 5000,
            **more,
        }

    def told(self, who: int, version: int, state: str, **more: Any) -> Entry:
        return self.hears(who, "call.state", **self.view(who, version, state, **more))

    def both_told(self, version: int, state: str, **more: Any) -> None:
        more = {"deadline_at": self.now + 5000} | more
        for who in (0, 1):
            self.told(who, version, state, **more)

    def connects(self) -> None:
        """From the queue to a call that is live, with voice negotiated. Versions 1 to 5."""
        for who in (0, 1):
            self.begins(who)
            self.joins(who, f"ticket-{who}")
        self.matched()
        self.both_told(1, "proposed")
        self.done(0, "call.accept", call_id=CALL)
        self.both_told(2, "proposed")
        self.done(1, "call.accept", call_id=CALL)
        self.both_told(3, "connecting")
        self.relays(0, "call.offer", 1)
        self.relays(1, "call.answer", 1)
        self.trickles(0, 1, "one", "two")
        for who in (0, 1):
            self.done(who, "call.media", call_id=CALL, state="connected")
        self.both_told(4, "connecting")
        self.both_told(5, "live", **self.clock())

    def clock(self) -> dict[str, int]:
        return {"ends_at": SERVER_MS + 6000, "deadline_at": SERVER_MS + 6000}

    def relays(self, who: int, type_: str, negotiation: int, video: str | None = None) -> None:
        body: dict[str, Any] = {"call_id": CALL, "negotiation": negotiation, "video": video}
        said, heard = ({"of": "peer"}, {"of": "self"}) if type_ == "call.answer" else ({}, {})
        self.done(who, type_, None, **body, **said)
        self._hears_relayed(1 - who, type_, body | heard)

    def trickles(self, who: int, negotiation: int, *names: str) -> None:
        """Candidates for an offer of theirs."""
        body: dict[str, Any] = {"call_id": CALL, "negotiation": negotiation, "candidates": list(names)}
        self.done(who, "call.candidates", of="self", **body)
        self._hears_relayed(1 - who, "call.candidates", body | {"of": "peer"})

    def _hears_relayed(self, who: int, type_: str, body: dict[str, Any]) -> None:
        self.hears(who, type_, **body)

    def opens_video(self) -> None:
        """The guest asks, she approves both ways, and pictures are negotiated. Versions 6 and 7."""
        self.done(1, "video.request", call_id=CALL)
        self.both_told(6, "live", **self.clock())
        self.done(0, "video.approve", call_id=CALL, direction="both")
        self.both_told(7, "live", video_allowed={"a": True, "b": True}, **self.clock())
        self.relays(0, "call.offer", 2, "sendrecv")
        self.relays(1, "call.answer", 2, "sendrecv")

    def revokes_video(self) -> None:
        """She takes it back, and it is negotiated away. Version 8."""
        self.done(0, "video.revoke", call_id=CALL)
        self.both_told(8, "live", **self.clock())
        self.relays(0, "call.offer", 3)
        self.relays(1, "call.answer", 3)

    def comes_to_its_end(self) -> None:
        """The clock, and she stays in touch. Versions 9 and 10."""
        self.at_ms = max(self.at_ms, 6000.0)
        self.told(0, 9, "deciding")
        self.told(1, 9, "ended", **self.clock())
        self.hears(1, "call.ended", call_id=CALL, reason="completed", duration_ms=5900, requeued=False)
        self.done(0, "connect.request", call_id=CALL)
        self.told(0, 10, "ended", **self.clock())
        self.hears(0, "call.ended", call_id=CALL, reason="connected", duration_ms=5900, requeued=False)

    def writes(self) -> None:
        """Both hear of the connection, and each says something."""
        for who in (0, 1):
            self.hears(who, "connection.made", call_id=CALL, connection_id=CHAT)
        for number, who in enumerate((0, 1), start=1):
            body: dict[str, Any] = {"connection_id": CHAT, "body": f"word {number}"}
            self.done(
                who,
                "chat.send",
                {"id": f"message-{number}", "number": number, "sent_at": self.now},
                client_id=f"{who}-1",
                **body,
            )
            self.hears(1 - who, "chat.message", id=f"message-{number}", number=number, **body)

    def _add(self, who: int, kind: str, data: dict[str, Any]) -> Entry:
        self.at_ms += 1
        person = self.people[who]
        entry = Entry(len(self.history), self.at_ms, who, kind, person.session, person.socket, data)
        self.history.entries.append(entry)
        return entry


def evening() -> Tape:
    """A whole good evening of two people."""
    tape = Tape()
    tape.connects()
    tape.opens_video()
    tape.revokes_video()
    tape.comes_to_its_end()
    tape.writes()
    return tape.wait(1000)


def kept() -> Readings:
    """What a good evening leaves behind."""
    idle: dict[str, Any] = {"presence": "online", "ticket": None, "call": None, "unread": {}}
    return Readings(
        users=["user-0", "user-1"],
        names=["Person 0", "Person 1"],
        genders=["female", "male"],
        calls=[
            KeptCall(
                id=CALL,
                intent="dating",
                reason="connected",
                created_at=SERVER_MS + 10,
                live_at=SERVER_MS + 100,
                ended_at=SERVER_MS + 6010,
                duration_ms=5900,
                connected=True,
                users={"a": "user-0", "b": "user-1"},
                roles={"a": "controller", "b": "guest"},
            )
        ],
        messages=[
            KeptMessage(CHAT, 1, "message-1", "user-0", "0-1", "word 1"),
            KeptMessage(CHAT, 2, "message-2", "user-1", "1-1", "word 2"),
        ],
        connections={CHAT: frozenset(("user-0", "user-1"))},
        snapshots={0: idle, 1: idle},
    )


def kept_otherwise(**changes: Any) -> Readings:
    """As `kept`, with its call changed."""
    readings = kept()
    return replace(readings, calls=[replace(readings.calls[0], **changes)])


def on_the_phone() -> Tape:
    """The two in a live call."""
    tape = Tape()
    tape.connects()
    return tape


def rules(tape: Tape, readings: Readings | None = None, mode: Mode | None = None) -> set[str]:
    """Which rules a history breaks."""
    return {violation.rule for violation in check(tape.history, readings or kept(), mode).violations}
