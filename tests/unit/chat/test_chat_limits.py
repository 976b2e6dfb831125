"""How much a session may say, and that typing is never refused."""

import os

import pytest

from base.ids import SessionId, uuid7
from signaling.protocol.codec import JSON
from signaling.session.limits import SessionLimits
from signaling.session.session import RefusedRequest, Session, SessionBroken

CONNECTION = uuid7(1, os.urandom(10))


def session() -> Session:
    return Session(SessionId("s"), JSON, SessionLimits(), 0)


def send(number: int) -> bytes:
    return b'{"type":"chat.send","id":%d,"data":{"connection_id":"%b","client_id":"%d","body":"x"}}' % (
        number,
        CONNECTION.encode(),
        number,
    )


def away(number: int) -> bytes:
    return b'{"type":"presence.set","id":%d,"data":{"away":true}}' % number


TYPING = b'{"type":"chat.typing","data":{"connection_id":"%b"}}' % CONNECTION.encode()


def test_five_messages_a_second_and_ten_at_once_may_be_sent() -> None:
    """The eleventh at once is refused and says when the next may come."""
    one = session()
    for number in range(1, 11):
        assert one.receive(send(number), False, 0) is not None

    with pytest.raises(RefusedRequest) as caught:
        one.receive(send(11), False, 0)
    assert caught.value.error.code == "rate_limited"
    assert caught.value.error.retry_after_ms == 200
    assert one.receive(send(12), False, 200) is not None


def test_typing_too_often_is_dropped_without_a_word() -> None:
    """Two at once, then one in two seconds; nobody is told of the others."""
    one = session()
    passed = [one.receive(TYPING, False, ms) is not None for ms in (0, 0, 0, 500, 2_000, 2_100)]

    assert passed == [True, True, False, False, True, False]


def test_typing_takes_nothing_from_other_messages() -> None:
    """Who types a lot can still hang up."""
    one = session()
    for _ in range(150):
        one.receive(TYPING, False, 0)

    assert one.receive(send(1), False, 0) is not None


def test_a_flood_of_typing_ends_the_connection() -> None:
    """Dropping costs something, too."""
    one = session()

    with pytest.raises(SessionBroken):
        for _ in range(300):
            one.receive(TYPING, False, 0)


def test_coming_and_going_five_times_at_once_and_then_once_a_second() -> None:
    """Each change is written in several places; who is refused is told when the next may come, and can still leave."""
    one = session()
    for number in range(1, 6):
        assert one.receive(away(number), False, 0) is not None

    with pytest.raises(RefusedRequest) as caught:
        one.receive(away(6), False, 0)
    assert (caught.value.error.code, caught.value.error.retry_after_ms) == ("rate_limited", 1_000)
    assert one.receive(send(7), False, 0) is not None
    assert one.receive(away(8), False, 1_000) is not None
