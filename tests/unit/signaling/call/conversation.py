"""A call to try things on: two people, a clock that the test moves, and all that had to be done so far."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from base.errors import ErrorCode
from base.ids import CallId, ConnectionId, DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Control, Gender, IntentPolicy
from matchmaker.matches import Match, MatchedSeat
from signaling.call import events
from signaling.call.change import CallRefused, Decision
from signaling.call.create import propose
from signaling.call.effects import Effect, Send
from signaling.call.events import Event
from signaling.call.record import Call, SeatRecord
from signaling.call.rules import receive
from signaling.call.states import SEATS, Seat, State
from signaling.protocol.messages.family import ServerMessage

START_MS = 1_700_000_000_000
CALL_ID = CallId("0190a0b0-0000-7000-8000-00000000ca11")
CONNECTION_ID = ConnectionId("0190a0b0-0000-7000-8000-000000c0ffee")

EffectT = TypeVar("EffectT", bound=Effect)
MessageT = TypeVar("MessageT", bound=ServerMessage)


def person(name: Seat, gender: Gender) -> MatchedSeat:
    """Somebody whose ids all say which seat they take."""
    return MatchedSeat(
        user_id=UserId(f"user-{name}"),
        device_id=DeviceId(f"device-{name}"),
        session_id=SessionId(f"session-{name}"),
        node_id=NodeId(f"node-{name}"),
        ticket_id=TicketId(f"ticket-{name}"),
        queued_at=START_MS - 1000,
        gender=gender,
        first_name="Ada" if name == "a" else "Ben",
        age=30,
        languages=("de", "en"),
        verified=name == "a",
    )


def match(a: Gender = Gender.FEMALE, b: Gender = Gender.MALE) -> Match:
    return Match(call_id=CALL_ID, intent="dating", claimed_at_ms=START_MS, a=person("a", a), b=person("b", b))


@dataclass
class Conversation:
    """Drives one call; `a` is the controller unless said else."""

    call: Call
    now_ms: int = START_MS
    done: list[Effect] = field(default_factory=list)

    @classmethod
    def proposed(cls, *, mutual: bool = False, **policy: Any) -> "Conversation":
        control = Control.MUTUAL if mutual else Control.FEMALE
        return cls(propose(match(), IntentPolicy(control=control, **policy), START_MS))

    @classmethod
    def connecting(cls, *, mutual: bool = False, **policy: Any) -> "Conversation":
        talk = cls.proposed(mutual=mutual, **policy)
        for seat in SEATS:
            talk.does(events.Accepted(seat))
        talk.done.clear()
        return talk

    @classmethod
    def live(cls, *, mutual: bool = False, after: float = 0, **policy: Any) -> "Conversation":
        """A call that has been live for `after` seconds."""
        talk = cls.connecting(mutual=mutual, **policy)
        for seat in SEATS:
            talk.does(events.MediaConnected(seat, answer_relayed=True))
        talk.done.clear()
        return talk.later(after)

    @classmethod
    def reconnecting(cls, *, mutual: bool = False, after: float = 0, **policy: Any) -> "Conversation":
        """A call live for `after` seconds in which `b` has just lost media."""
        talk = cls.live(mutual=mutual, after=after, **policy)
        talk.does(events.MediaDisconnected("b"))
        talk.done.clear()
        return talk

    @classmethod
    def deciding(cls, *, mutual: bool = False, **policy: Any) -> "Conversation":
        """A call whose clock has just run out."""
        talk = cls.live(mutual=mutual, **policy).passes(180)
        talk.done.clear()
        return talk

    @classmethod
    def ended(cls, *, mutual: bool = False, **policy: Any) -> "Conversation":
        talk = cls.deciding(mutual=mutual, **policy).passes(30)
        talk.done.clear()
        return talk

    @property
    def a(self) -> SeatRecord:
        return self.call.a

    @property
    def b(self) -> SeatRecord:
        return self.call.b

    def state(self) -> State:
        return self.call.state

    def does(self, event: Event) -> Decision:
        """Lets something happen now; a change counts one version, and nothing else has effects."""
        before = self.call
        decision = receive(before, event, self.now_ms)
        if decision.call is before:
            assert not decision.effects, "an unchanged call has nothing to do"
        else:
            assert decision.call.version == before.version + 1
        self.call = decision.call
        self.done += decision.effects
        return decision

    def is_refused(self, event: Event) -> ErrorCode:
        """The code with which an event is refused."""
        return self.refusal(event).code

    def refusal(self, event: Event) -> CallRefused:
        try:
            decision = receive(self.call, event, self.now_ms)
        except CallRefused as refused:
            return refused
        raise AssertionError(f"{event} was taken: {decision}")

    def ignores(self, event: Event) -> bool:
        """Whether an event changes nothing and leads to nothing."""
        decision = receive(self.call, event, self.now_ms)
        return decision.call is self.call and not decision.effects

    def later(self, seconds: float) -> "Conversation":
        """Moves the clock; no timer fires."""
        self.now_ms += round(seconds * 1000)
        return self

    def passes(self, seconds: float) -> "Conversation":
        """Moves the clock and fires each timer at its moment."""
        until = self.now_ms + round(seconds * 1000)
        while (due := self.call.next_deadline_at) is not None and due <= until:
            self.now_ms = max(self.now_ms, due)
            self.does(events.TimerFired())
        self.now_ms = until
        return self

    def effects(self, kind: type[EffectT]) -> list[EffectT]:
        """What had to be done so far, of one kind."""
        return [effect for effect in self.done if isinstance(effect, kind)]

    def told(self, seat: Seat, kind: type[MessageT]) -> list[MessageT]:
        """What a seat was told so far, of one kind."""
        return [
            effect.message
            for effect in self.done
            if isinstance(effect, Send) and effect.seat == seat and isinstance(effect.message, kind)
        ]

    def attaches(self, seat: Seat, *, session: str | None = None, node: str | None = None) -> Decision:
        """A socket for a seat: of its own session on its own node unless said else."""
        return self.does(attached(seat, session=session, node=node))


def attached(seat: Seat, *, session: str | None = None, node: str | None = None) -> events.SeatAttached:
    return events.SeatAttached(
        seat,
        session_id=SessionId(session or f"session-{seat}"),
        node_id=NodeId(node or f"node-{seat}"),
        device_id=DeviceId(f"device-{seat}"),
    )


def detached(seat: Seat, *, node: str | None = None) -> events.SeatDetached:
    at = None if node is None else NodeId(node)
    return events.SeatDetached(seat, SessionId(f"session-{seat}"), node_id=at)


def session_ended(seat: Seat) -> events.SessionEnded:
    return events.SessionEnded(seat, SessionId(f"session-{seat}"))


def wants_connection(seat: Seat) -> events.ConnectRequested:
    return events.ConnectRequested(seat, CONNECTION_ID)
