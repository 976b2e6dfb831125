"""How much of each kind one connection may send, as docs/protocol.md says it: what one kind has used up, another has not."""

import orjson
import pytest

from base.ids import SessionId
from signaling.protocol.codec import JSON
from signaling.session.limits import SessionLimits
from signaling.session.session import RefusedRequest, Session

CALL = "01890000-0000-7000-8000-000000000000"
OF_A_KIND = {
    "queue.leave": {},
    "call.candidates": {"call_id": CALL, "negotiation": 1, "candidates": []},
    "queue.join": {"intent": "dating"},
    "presence.set": {"away": True},
    "chat.send": {"connection_id": CALL, "client_id": "one", "body": "x"},
}


class Talker:
    """A session, and whether what it says passes."""

    def __init__(self) -> None:
        self._session = Session(SessionId("s"), JSON, SessionLimits(), 0)
        self._number = 0

    def says(self, type_: str, now_ms: int) -> str:
        self._number += 1
        message = {"type": type_, "id": self._number, "data": OF_A_KIND[type_]}
        try:
            self._session.receive(orjson.dumps(message), False, now_ms)
        except RefusedRequest as refusal:
            return str(refusal.error.code)
        return "passed"

    def passed(self, type_: str, times: int, now_ms: int) -> int:
        return sum(self.says(type_, now_ms) == "passed" for _ in range(times))


@pytest.mark.parametrize(
    ("type_", "at_once", "after_s", "again"),
    [
        ("queue.leave", 40, 1, 20),
        ("call.candidates", 50, 1, 5),
        ("queue.join", 6, 10, 1),
        ("presence.set", 5, 1, 1),
        ("chat.send", 10, 1, 5),
    ],
)
def test_each_kind_has_its_own_rate(type_: str, at_once: int, after_s: int, again: int) -> None:
    """So many at once, and from then on so many in so many seconds; the next is `rate_limited`."""
    talker = Talker()

    assert talker.passed(type_, at_once, 0) == at_once
    assert talker.says(type_, 0) == "rate_limited"
    assert talker.passed(type_, again, after_s * 1000) == again
    assert talker.says(type_, after_s * 1000) == "rate_limited"


def test_candidates_leave_room_for_what_matters_more() -> None:
    """Who has trickled all that may be trickled can still hang up."""
    talker = Talker()
    talker.passed("call.candidates", 60, 0)

    assert talker.says("queue.leave", 0) == "passed"


def test_an_hour_of_silence_saves_no_more_than_the_burst() -> None:
    """Buckets do not run over."""
    talker = Talker()
    talker.passed("chat.send", 10, 0)

    assert talker.passed("chat.send", 20, 3_600_000) == 10
