"""What a live session does with chat: news after the greeting, and a line of its own for what a database may delay."""

import asyncio
from typing import Any

from signaling.session.limits import SessionLimits
from tests.unit.chat.greeted import CONNECTION, greeting
from tests.unit.signaling.hub.live_scene import Scene

SEND = {**CONNECTION, "client_id": "one", "body": "hello"}


def types(scene: Scene) -> list[str]:
    return [message["type"] for message in scene.wire.messages()]


def numbers(scene: Scene) -> list[Any]:
    return [message.get("seq") for message in scene.wire.messages()]


def test_news_that_come_before_the_greeting_are_told_after_it() -> None:
    """A message may be told while the session is still being opened: the snapshot may be older than it."""
    scene = Scene()
    scene.live.push_news("chat.message", {"number": 1}, reliable=True)
    scene.live.push_news("presence.update", {"presence": "online"}, reliable=False)
    before = types(scene)
    scene.live.greet(greeting(), 7)
    scene.live.push_news("chat.message", {"number": 2}, reliable=True)

    assert before == []
    assert types(scene) == ["session.ready", "chat.message", "presence.update", "chat.message"]
    assert numbers(scene) == [1, 2, None, 3]


async def test_news_before_the_greeting_are_bounded() -> None:
    """Whoever was told too little has to begin again, and is told that."""
    scene = Scene(SessionLimits(outbox_messages=3))
    for number in range(4):
        scene.live.push_news("chat.message", {"number": number}, reliable=True)
    scene.live.greet(greeting(), 1)

    assert not scene.live.can_resume
    assert scene.wire.close_code() == 4006


async def test_a_slow_message_does_not_hold_up_what_concerns_the_call() -> None:
    """The database hangs: the hangup behind it is done all the same."""
    scene = Scene()
    waiting = asyncio.Event()
    handle = scene.services.handle

    async def slow(live: Any, request: Any) -> Any:
        if request.message.TYPE.startswith("chat."):
            await waiting.wait()
        return await handle(live, request)

    scene.services.handle = slow  # type: ignore[method-assign]  # waits for the test
    scene.services.gate.set()
    scene.hears("chat.send", 1, **SEND)
    scene.hears("call.hangup", 2, call_id=CONNECTION["connection_id"])
    scene.hears("chat.read", 3, **CONNECTION, up_to=1)
    await asyncio.sleep(0.01)
    during = list(scene.services.done)
    waiting.set()
    await scene.services.settled()

    assert during == ["call.hangup"]
    assert scene.services.done == ["call.hangup", "chat.send", "chat.read"]


async def test_typing_is_not_answered() -> None:
    """It has no number that an answer could name."""
    scene = Scene()
    scene.hears("chat.typing", **CONNECTION)
    await scene.services.settled()

    assert scene.services.done == ["chat.typing"]
    assert types(scene) == []
