"""The pure session: numbers both ways, limits, and what waits to be acknowledged."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import CloseCode, ErrorCode
from base.ids import SessionId
from signaling.protocol.codec import JSON, InvalidMessage
from signaling.protocol.messages.session import Ok, Ping, SessionExpiring
from signaling.session.heartbeat import Beat, Heartbeat, Pulse
from signaling.session.limits import Rate, SessionLimits, TokenBucket
from signaling.session.outbox import Outbox, OutboxOverflow
from signaling.session.session import RefusedRequest, Session, SessionBroken

CALL = "01890000-0000-7000-8000-000000000000"


def new_session(limits: SessionLimits | None = None) -> Session:
    return Session(SessionId("s"), JSON, limits or SessionLimits(), 0)


def ask(session: Session, now_ms: int = 0, **envelope: object) -> object:
    return session.receive(orjson.dumps({"type": "queue.leave", **envelope}), False, now_ms)


def test_reliable_messages_are_numbered_from_one_and_others_not_at_all() -> None:
    """`seq` counts what has to arrive: replies and messages, but no pings."""
    session = new_session()

    first = orjson.loads(session.frame(Ok(), request_id=4))
    ping = orjson.loads(session.frame(Ping(server_now=1)))
    second = orjson.loads(session.frame(SessionExpiring(token_expires_at=1)))

    assert (first["seq"], first["id"], second["seq"]) == (1, 4, 2)
    assert "seq" not in ping
    assert len(session.outbox) == 2


def test_a_request_that_was_handled_is_not_done_again() -> None:
    """A number that is not above the last one is a repeat: its reply is in the replay."""
    session = new_session()

    assert ask(session, id=3) is not None
    assert ask(session, id=3) is None
    assert ask(session, id=2) is None
    assert ask(session, id=4) is not None


def test_acknowledged_messages_leave_the_outbox() -> None:
    """Any request may carry `ack`."""
    session = new_session()
    for expires_at in range(3):
        session.frame(SessionExpiring(token_expires_at=expires_at))

    ask(session, id=1, ack=2)

    assert [orjson.loads(frame)["seq"] for frame in session.outbox.since(2) or []] == [3]
    assert session.outbox.since(1) is None


def test_too_many_messages_are_refused_with_the_time_to_wait() -> None:
    """The burst passes, then the rate holds; time heals."""
    session = new_session()
    for number in range(40):
        ask(session, id=number + 1)

    with pytest.raises(RefusedRequest) as caught:
        ask(session, id=41)

    assert caught.value.error.code is ErrorCode.RATE_LIMITED
    assert caught.value.request_id == 41
    wait_ms = caught.value.error.retry_after_ms
    assert wait_ms == 50
    assert ask(session, wait_ms, id=42) is not None


def test_candidates_have_a_budget_of_their_own() -> None:
    """A burst of candidates does not keep a hangup from passing."""
    session = new_session()
    candidates = {"call_id": CALL, "negotiation": 1}
    for number in range(50):
        ask(session, id=number + 1, type="call.candidates", data=candidates)

    with pytest.raises(RefusedRequest):
        ask(session, id=51, type="call.candidates", data=candidates)

    assert ask(session, id=52, type="call.hangup", data={"call_id": CALL}) is not None


def test_a_client_that_keeps_going_is_closed() -> None:
    """4007 after too many refusals, 4500 after too much that cannot be read."""
    flooding, babbling = new_session(), new_session()

    with pytest.raises(SessionBroken) as flood:
        for number in range(10_000):
            try:
                ask(flooding, id=number + 1)
            except RefusedRequest:
                continue
    with pytest.raises(SessionBroken) as babble:
        for _ in range(10_000):
            try:
                babbling.receive(b"{", False, 0)
            except InvalidMessage:
                continue

    assert flood.value.close_code is CloseCode.RATE
    assert babble.value.close_code is CloseCode.PROTOCOL_ERROR


def test_a_flood_of_control_frames_or_repeats_is_closed() -> None:
    """Neither asks for anything, and both cost: a hundred pings at once, two hundred repeats."""
    pinging, repeating = new_session(), new_session()
    ask(repeating, id=9)

    with pytest.raises(SessionBroken) as pings:
        for _ in range(101):
            pinging.count_control_frame(0)
    with pytest.raises(SessionBroken) as repeats:
        for _ in range(200):
            ask(repeating, id=9)

    assert pings.value.close_code is CloseCode.RATE
    assert repeats.value.close_code is CloseCode.RATE


def test_the_wrong_kind_of_frame_breaks_the_session() -> None:
    """Binary frames are for msgpack, text is for JSON."""
    with pytest.raises(SessionBroken) as caught:
        new_session().receive(b"{}", True, 0)

    assert caught.value.close_code is CloseCode.PROTOCOL_ERROR


@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 60)), max_size=80))
def test_the_outbox_is_bounded_and_replays_exactly_what_was_not_acknowledged(
    steps: list[bytes | int],
) -> None:
    """Whatever is kept and acknowledged, a replay is complete and in order, or is refused."""
    outbox = Outbox(max_messages=10, max_bytes=200)
    kept: dict[int, bytes] = {}
    acknowledged = 0

    for step in steps:
        if isinstance(step, int):
            outbox.acknowledge(step)
            acknowledged = max(acknowledged, min(step, outbox.last_seq))
            continue
        try:
            outbox.keep(step)
            kept[outbox.last_seq] = step
        except OutboxOverflow:
            waiting = [frame for seq, frame in kept.items() if seq > acknowledged]
            assert len(waiting) == 10 or sum(map(len, waiting)) + len(step) > 200

    assert len(outbox) <= 10
    assert outbox.waiting_bytes <= 200
    for seen in range(outbox.last_seq + 2):
        replay = outbox.since(seen)
        if acknowledged <= seen <= outbox.last_seq:
            assert replay == [kept[seq] for seq in range(seen + 1, outbox.last_seq + 1)]
        else:
            assert replay is None


@given(st.lists(st.integers(0, 5000), max_size=60), st.floats(0.1, 50), st.integers(1, 40))
def test_a_bucket_never_lets_more_through_than_burst_and_rate_allow(
    gaps: list[int], per_s: float, burst: int
) -> None:
    """Over any time, at most burst plus rate times time; the wait it names is enough."""
    bucket, now_ms, passed = TokenBucket(Rate(per_s, burst), 0), 0, 0

    for gap in gaps:
        now_ms += gap
        wait_ms = bucket.take(now_ms)
        passed += wait_ms == 0
        assert passed <= burst + now_ms * per_s / 1000 + 1e-6
        if wait_ms:
            now_ms += wait_ms + 1
            assert bucket.take(now_ms) == 0
            passed += 1


def test_a_silent_client_is_pinged_then_given_up() -> None:
    """Any traffic is a sign of life; an unanswered ping is death."""
    heart = Heartbeat(Beat(silence_ms=20_000, answer_ms=8_000), 0)

    assert heart.check(19_999) is Pulse.FINE
    assert heart.check(20_000) is Pulse.PING
    assert heart.next_at == 28_000
    heart.heard(27_000)
    assert heart.check(28_000) is Pulse.FINE
    assert heart.check(47_000) is Pulse.PING
    assert heart.check(55_000) is Pulse.DEAD
