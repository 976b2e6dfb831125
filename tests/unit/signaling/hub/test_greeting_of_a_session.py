"""The greeting: it comes first, and is the one reliable message that nobody can need again."""

from presence.sessions import Registered
from signaling.protocol.messages import session as wire
from signaling.session.limits import SessionLimits
from signaling.welcome import SessionPolicy, session_ready
from tests.unit.signaling.hub.live_scene import Scene


def greeting_of(scene: Scene) -> wire.SessionReady:
    policy = SessionPolicy(SessionLimits(), ("dating",), strict=False)
    registered = Registered(1, None, "", None, blocks_known=True)
    return session_ready(scene.live, registered, None, {}, policy, scene.clock.now_ms)


async def test_the_greeting_is_not_kept_and_what_came_before_it_is() -> None:
    """Whoever resumes knows the session's name from the greeting itself; what waited for it is replayed as ever."""
    scene = Scene()
    scene.live.push_news("chat.message", {"body": "hello"}, reliable=True)
    scene.live.greet(greeting_of(scene), 1)
    outbox = scene.live.session.outbox

    assert [message["type"] for message in scene.wire.messages()] == ["session.ready", "chat.message"]
    assert [message["seq"] for message in scene.wire.messages()] == [1, 2]
    assert outbox.since(0) is None
    assert [b"chat.message" in frame for frame in outbox.since(1) or ()] == [True]


async def test_an_idle_session_keeps_nothing_for_its_client() -> None:
    """Most sessions are idle most of the time, and there are many."""
    scene = Scene()
    scene.live.greet(greeting_of(scene), 1)

    assert scene.live.session.outbox.waiting_bytes == 0
    assert scene.live.session.outbox.since(1) == []
    assert scene.live.can_resume
