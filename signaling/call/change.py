"""One change of a call in the making: the record so far, its effects, the reply.

Decides how a change is counted (one version, whatever it consists of), what a seat may notice of it, and how long
the consent log may grow. Refuses to know any rule: those write into it.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from base.errors import ErrorCode, MinuetError
from base.policy import Seconds
from signaling.call.consent import with_event, with_refusal
from signaling.call.effects import Effect, Send
from signaling.call.record import Call, ConsentEvent, ConsentKind, RefusedRelays
from signaling.call.states import SEATS, Seat
from signaling.protocol.messages.family import ServerMessage

MAX_CONSENT_EVENTS: Final = 200
"""No record has more events in its consent log."""
MAX_REFUSED_LINES: Final = 60
"""No record has more lines about refused relays in it; `Call.refusals` counts on."""
MAX_REFUSED_LINES_OF_SEAT: Final = MAX_REFUSED_LINES // 2
"""Each seat has room of its own: nobody crowds the other's refusals out."""

# What widens stops earlier than what restricts, so that a restriction always finds room for its line.
MAX_WHEN_VIDEO_OPENS: Final = 150
MAX_WHEN_WISHING: Final = 180


class CallRefused(MinuetError):
    """The event is illegal as the call stands; nothing has changed."""

    code = ErrorCode.BAD_STATE


@dataclass(frozen=True, slots=True)
class Decision:
    """What an event came to. `call` is the very record that went in where nothing changed."""

    call: Call
    effects: tuple[Effect, ...] = ()
    reply: dict[str, Any] | None = None


def ms(seconds: Seconds) -> int:
    """A policy's duration in milliseconds; at least one, so that a timer never fires as it is set."""
    return max(1, round(seconds * 1000))


class Change:
    """Collects what the rules decide about one event."""

    __slots__ = ("_before", "_hidden_from", "call", "effects", "now_ms", "reply")

    def __init__(self, call: Call, now_ms: int) -> None:
        self._before = call
        self._hidden_from: set[Seat] = set()
        self.call = call
        self.now_ms = now_ms
        self.effects: list[Effect] = []
        self.reply: dict[str, Any] | None = None

    def set(self, **fields: Any) -> None:
        """Replaces fields of the call."""
        self.call = msgspec.structs.replace(self.call, **fields)

    def set_seat(self, seat: Seat, **fields: Any) -> None:
        """Replaces fields of one seat."""
        self.set(**{seat: msgspec.structs.replace(self.call.seat(seat), **fields)})

    def do(self, *effects: Effect) -> None:
        self.effects += effects

    def send(self, seat: Seat, message: ServerMessage) -> None:
        self.do(Send(seat, message))

    def send_both(self, message: ServerMessage) -> None:
        for seat in SEATS:
            self.send(seat, message)

    def note(
        self,
        kind: ConsentKind,
        by: Seat | None,
        *,
        sender: Seat | None = None,
        reason: Literal["denied", "timeout"] | None = None,
        direction: Literal["both", "receive"] | None = None,
    ) -> None:
        """Adds an event to the consent log."""
        event = ConsentEvent(
            at=self.now_ms, kind=kind, by=by, sender=sender, reason=reason, direction=direction
        )
        self.call = with_event(self.call, event)

    def note_refusal(self, by: Seat, code: str, count: int) -> None:
        """Adds a line about refused relays to the consent log, as long as the seat has room."""
        if sum(line.by == by for line in self.call.refused) < MAX_REFUSED_LINES_OF_SEAT:
            after = len(self.call.events)
            refusal = RefusedRelays(at=self.now_ms, by=by, code=code, count=count, after=after)
            self.call = with_refusal(self.call, refusal)

    def hide_from(self, *seats: Seat) -> None:
        """Lets these seats not notice this change: neither are they told, nor does their version move."""
        self._hidden_from.update(seats)

    def decision(self) -> Decision:
        """The decision; a change that changed nothing is none."""
        if self.call == self._before:
            return Decision(self._before, reply=self.reply)
        for seat in self._hidden_from:
            self.set_seat(seat, hidden=self.call.seat(seat).hidden + 1)
        self.set(version=self._before.version + 1)
        return Decision(self.call, tuple(self.effects), self.reply)
