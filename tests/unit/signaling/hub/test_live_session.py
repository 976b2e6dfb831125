"""A session and its socket: order of commands, slow readers, silence, expiry. On real connections over a fake wire."""

import asyncio

import pytest

from base.errors import CloseCode
from base.ids import CallId
from signaling.protocol.messages.session import Ping, SessionExpiring, SessionSuperseded
from signaling.session.limits import SessionLimits
from tests.unit.signaling.hub.live_scene import CALL, Scene


async def test_a_relay_is_done_at_once_when_nothing_is_in_line() -> None:
    """No task, no wait: it has been passed on before the read returns."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)

    assert scene.services.done == ["call.candidates"]
    assert not scene.services.tasks


async def test_the_ok_of_candidates_goes_with_what_is_said_next() -> None:
    """In its own place, and in one write: a socket is not written to twice where once is enough."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.hears("call.candidates", 2, call_id=CALL, negotiation=1)
    assert scene.wire.written == []
    scene.live.push(SessionExpiring(token_expires_at=1))

    assert [(said["type"], said["seq"]) for said in scene.wire.messages()] == [
        ("ok", 1),
        ("ok", 2),
        ("session.expiring", 3),
    ]
    assert len(scene.wire.written) == 1


async def test_the_ok_of_a_description_is_not_held_back() -> None:
    """An answerer applies the answer when it comes; what was held before it goes ahead of it."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.hears("call.answer", 2, call_id=CALL, negotiation=1, sdp="v=0")

    assert [(said["type"], said["id"]) for said in scene.wire.messages()] == [("ok", 1), ("ok", 2)]
    assert len(scene.wire.written) == 1


async def test_the_ok_of_candidates_goes_alone_in_a_moment() -> None:
    """Where nothing else is said."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    async with asyncio.timeout(30):
        while not scene.wire.written:
            await asyncio.sleep(0.001)

    assert scene.wire.messages() == [{"type": "ok", "id": 1, "seq": 1}]


async def test_what_is_held_back_goes_ahead_of_the_close_frame() -> None:
    """Whoever is sent away has heard all that was said to them."""
    scene = Scene()

    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.live.close(CloseCode.DRAIN, "drain")

    assert scene.wire.messages() == [{"type": "ok", "id": 1, "seq": 1}]
    assert scene.wire.close_code() == CloseCode.DRAIN


async def test_what_was_held_back_when_a_socket_was_lost_is_in_the_replay() -> None:
    """It is numbered and kept as soon as it is said."""
    scene = Scene()
    scene.hears("call.candidates", 1, call_id=CALL, negotiation=1)
    scene.connection.abort()
    scene.connection.connection_lost(None)

    wire, _ = scene.connect()
    assert scene.live.replay(0)

    assert scene.wire.written == []
    assert wire.messages() == [{"type": "ok", "id": 1, "seq": 1}]


async def test_commands_and_relays_of_a_session_keep_their_order() -> None:
    """A relay waits behind its own session's unfinished command."""
    scene = Scene()

    scene.hears("call.accept", 1, call_id=CALL)
    scene.hears("call.candidates", 2, call_id=CALL, negotiation=1)
    scene.hears("queue.leave", 3)
    assert scene.services.done == []
    await scene.services.settled()

    assert scene.services.done == ["call.accept", "call.candidates", "queue.leave"]
    answers = [(message["type"], message["id"]) for message in scene.wire.messages()]
    assert answers == [("ok", 1), ("ok", 2), ("error", 3)]


async def test_commands_in_line_are_bounded() -> None:
    """Above the limit: `rate_limited`, and what is in line is still done."""
    scene = Scene(SessionLimits(pending_commands=3))

    for number in range(1, 7):
        scene.hears("call.accept", number, call_id=CALL)
    await scene.services.settled()

    refused = [message["id"] for message in scene.wire.messages() if message["type"] == "error"]
    assert len(refused) + len(scene.services.done) == 6
    assert refused == [4, 5, 6]


async def test_a_slow_reader_loses_pings_first_then_the_socket_but_nothing_reliable() -> None:
    """Above 64 kB unsent ephemeral messages are dropped, above 256 kB the socket is closed with 4003."""
    scene = Scene()
    scene.connection.pause_writing()
    scene.wire.unsent = 100_000

    scene.live.push(Ping(server_now=1))
    scene.live.push(SessionExpiring(token_expires_at=1))
    scene.wire.unsent = 300_000
    scene.live.push(SessionExpiring(token_expires_at=2))

    assert [message["type"] for message in scene.wire.messages()] == ["session.expiring"]
    assert scene.wire.close_code() == CloseCode.TOO_SLOW
    assert scene.services.told == ["detached"]
    wire, _ = scene.connect()
    assert scene.live.replay(0)
    replayed = b"".join(wire.written)
    assert replayed.count(b"session.expiring") == 2


async def test_a_reader_without_progress_is_closed_after_ten_seconds() -> None:
    """4003 also when little is unsent but nothing moves."""
    scene = Scene()
    scene.connection.pause_writing()

    scene.clock.advance(9.9)
    scene.tick()
    assert scene.live.is_attached
    scene.clock.advance(0.2)
    scene.tick()

    assert scene.wire.close_code() == CloseCode.TOO_SLOW


async def test_a_client_that_never_acknowledges_is_told_to_start_over() -> None:
    """The outbox overflows: 4006, and the session can no longer be resumed."""
    scene = Scene(SessionLimits(outbox_messages=5))

    for number in range(6):
        scene.live.push(SessionExpiring(token_expires_at=number))

    assert scene.wire.close_code() == CloseCode.RESYNC
    assert not scene.live.can_resume
    assert len(scene.wire.messages()) == 5


async def test_silence_is_pinged_then_given_up() -> None:
    """20 s, then 8 s; in a call 5 s and 4 s."""
    scene = Scene()

    scene.clock.advance(20)
    scene.tick()
    assert scene.wire.messages()[-1]["type"] == "ping"
    scene.clock.advance(8)
    scene.tick()

    assert scene.wire.close_code() == CloseCode.NO_PONG
    assert scene.services.told == ["detached"]


async def test_who_is_superseded_is_told_so_without_a_number() -> None:
    """As the reference says it: there is nothing left to acknowledge, or to come back to."""
    scene = Scene()
    scene.live.hand_over()

    assert [(said["type"], "seq" in said) for said in scene.wire.messages()] == [
        ("session.superseded", False)
    ]
    assert scene.wire.close_code() == CloseCode.SUPERSEDED
    assert not SessionSuperseded.RELIABLE


async def test_late_events_of_an_older_socket_do_nothing() -> None:
    """The session has another socket by now; the old one's end is none of its business.

    It is told to come back, not that it was superseded: the later attempt may be the one that nobody listens to any more.
    """
    scene = Scene()
    old = scene.connection
    wire, _ = scene.connect()

    old.connection_lost(None)
    scene.live.push(SessionExpiring(token_expires_at=1))

    assert scene.live.is_attached
    assert scene.wire.close_code() == CloseCode.DRAIN
    assert [message["type"] for message in wire.messages()] == ["session.expiring"]


@pytest.mark.parametrize(("clean", "told"), [(True, "ended: closed"), (False, "detached")])
async def test_only_a_clean_goodbye_ends_the_session(clean: bool, told: str) -> None:
    """A close frame with 1000 means it; a lost socket may come back."""
    scene = Scene()

    scene.live.connection_closed(1000, clean)

    assert scene.services.told == [told]


@pytest.mark.parametrize(("call_id", "lives_s"), [(None, 60), (CallId(CALL), 120)])
async def test_a_detached_session_lives_for_a_minute_and_in_a_call_for_two(
    call_id: CallId | None, lives_s: int
) -> None:
    """Then it has expired."""
    scene = Scene()
    if call_id is not None:
        scene.live.enter_call(call_id)
    scene.live.connection_closed(1006, False)

    scene.clock.advance(lives_s - 1)
    assert scene.tick() is not None
    scene.clock.advance(2)
    assert scene.tick() is None

    assert scene.services.told == ["detached", "ended: expired"]


async def test_a_token_that_runs_out_is_announced_then_the_socket_closed() -> None:
    """A minute before, and half a minute after."""
    scene = Scene()

    scene.clock.advance(841)
    scene.live.traffic_seen()
    scene.tick()
    assert scene.wire.messages()[-1]["type"] == "session.expiring"
    scene.clock.advance(90)
    scene.live.traffic_seen()
    scene.tick()

    assert scene.wire.close_code() == CloseCode.TOKEN_EXPIRED
