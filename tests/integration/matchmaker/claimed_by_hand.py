"""Ann and Bob in the lobby, claimed for a call without any matchmaker."""

import msgspec
import pytest

from base.errors import ErrorCode, MinuetError
from base.ids import CallId, DeviceId
from matchmaker.lobby import Joined
from matchmaker.matches import Match, seated
from tests.integration.matchmaker.scene import Scene

PHONE, LAPTOP = DeviceId("phone"), DeviceId("laptop")
CALL = CallId("01a1fd75-8e9d-7439-b49c-6924f0c6e611")


async def matched(scene: Scene, call_id: CallId = CALL) -> Match:
    """Ann and Bob, claimed by hand for a call that does not exist yet."""
    ann, bob = await scene.join("ann"), await scene.join("bob")
    return await claim(scene, ann, bob, call_id)


async def claim(scene: Scene, ann: Joined, bob: Joined, call_id: CallId = CALL) -> Match:
    match = Match(
        call_id=call_id, intent="friends", claimed_at_ms=0, a=seated(ann.ticket), b=seated(bob.ticket)
    )
    lease = await scene.queues.take_lease("friends", "test", ttl_ms=60_000)
    reply = await scene.queues.claim("friends", lease.token, [match])
    assert reply.claims[0].lost == frozenset()
    return msgspec.structs.replace(match, claimed_at_ms=reply.now_ms)


async def refusal(attempt: object) -> ErrorCode:
    with pytest.raises(MinuetError) as refused:
        await attempt
    return refused.value.code
