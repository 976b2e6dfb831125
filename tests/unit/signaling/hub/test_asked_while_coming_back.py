"""What a client sends behind `session.resume`, before it knows whether it has its session."""

import asyncio

import orjson

from signaling.connection import Connection, ConnectionSettings
from signaling.greeting import Greeting
from signaling.upgrade import ConnectionInfo
from tests.unit.signaling.hub.house_of_return import RESUME, House
from tests.unit.signaling.hub.live_scene import CALL, Scene, Wire


async def test_what_was_asked_first_is_done_first() -> None:
    """Also where the store takes its time to hear of the return: what comes then has a higher number."""
    scene = Scene()
    scene.live.session.last_id = 9
    scene.live.close(4000, "lost")
    house = House(scene)
    house.hears("session.resume", 10, RESUME)
    house.hears("call.hangup", 11, {"call_id": CALL})
    async with asyncio.timeout(30):
        while not house.wire.messages():
            await asyncio.sleep(0)
    house.hears("presence.set", 12, {"away": True})
    house.settles.set()
    await asyncio.gather(*house.work)
    await scene.services.settled()

    assert scene.services.done == ["call.hangup", "presence.set"]
    assert [message.get("id") for message in house.wire.messages()] == [10, 11, 12]


async def test_nothing_is_done_for_a_session_that_what_came_before_has_ended() -> None:
    """A frame of the wrong kind ends it; the command behind that is nobody's."""
    scene = Scene()
    connection = Connection(Wire(), "192.0.2.1", False, ConnectionSettings())
    greeting = Greeting(connection, ConnectionInfo("192.0.2.1", "minuet.v1.json", ""), lambda *_: None, 5)
    resume = orjson.dumps({"type": "session.resume", "id": 1, "data": RESUME})
    leave = orjson.dumps({"type": "queue.leave", "id": 2})
    for payload, binary in ((resume, False), (b"\x80", True), (leave, False)):
        greeting.message_received(payload, binary)
    greeting.pass_on(scene.live)
    await scene.services.settled()

    assert scene.live.is_over
    assert scene.services.done == []
