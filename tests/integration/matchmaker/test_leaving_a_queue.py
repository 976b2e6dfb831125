"""How people leave a queue, or keep their place in it while they are away."""

import msgspec

from base.errors import ErrorCode
from base.ids import NodeId, SessionId
from matchmaker.lobby import Standing
from matchmaker.ports import CallStage, TicketState
from tests.integration.matchmaker.claimed_by_hand import CALL, LAPTOP, PHONE, matched, refusal
from tests.integration.matchmaker.scene import ANN, Scene


async def test_leaving_ends_the_wait(scene: Scene) -> None:
    """Again: there is nothing to leave."""
    joined = await scene.join("ann")

    assert await scene.lobby.leave(ANN, PHONE) == joined.ticket_id
    assert await scene.lobby.leave(ANN, PHONE) is None
    assert await scene.depth() == {"waiting": 0, "paused": 0, "matched": 0}
    assert (await scene.activities.read(ANN)).activity is None


async def test_a_device_leaves_only_for_itself(scene: Scene) -> None:
    """A moderator, who names none, ends any wait."""
    await scene.join("ann")

    assert await refusal(scene.lobby.leave(ANN, LAPTOP)) is ErrorCode.WRONG_DEVICE
    assert await scene.lobby.leave(ANN, None) is not None


async def test_a_matched_ticket_does_not_leave(scene: Scene) -> None:
    """Neither before nor after its hub moved the user into the call."""
    match = await matched(scene)
    assert await refusal(scene.lobby.leave(ANN, PHONE)) is ErrorCode.ALREADY_MATCHED
    scene.calls.set(CALL, CallStage.SETTING_UP)
    await scene.lobby.accept_match(match, "a")

    assert await refusal(scene.lobby.leave(ANN, PHONE)) is ErrorCode.ALREADY_MATCHED


async def test_leaving_after_a_call_clears_what_is_left_of_it(scene: Scene) -> None:
    """A session's end always asks; a stale pointer goes."""
    match = await matched(scene)
    await scene.lobby.accept_match(match, "a")
    scene.calls.set(CALL, CallStage.ENDED)

    assert await scene.lobby.leave(ANN, PHONE) is None
    assert (await scene.activities.read(ANN)).activity is None


async def test_a_pause_keeps_the_place(scene: Scene) -> None:
    """Resuming on another node takes the ticket there."""
    joined = await scene.join("ann")
    assert await scene.lobby.pause(joined.ticket) is Standing.PAUSED
    moved = msgspec.structs.replace(
        joined.ticket, node_id=NodeId("node-2"), session_id=SessionId("session-2")
    )

    assert await scene.lobby.resume(moved) is Standing.WAITING
    (stored,) = await scene.queues.scan("friends")
    assert (stored.state, stored.ticket) == (TicketState.WAITING, moved)


async def test_resuming_what_was_dropped_says_so(scene: Scene) -> None:
    """It is not brought back, and the slot is free."""
    joined = await scene.join("ann")
    await scene.queues.leave("friends", joined.ticket_id)

    assert await scene.lobby.resume(joined.ticket) is Standing.LEFT
    assert (await scene.activities.read(ANN)).activity is None


async def test_pausing_and_resuming_leave_a_match_alone(scene: Scene) -> None:
    """The hub hears that it is one."""
    match = await matched(scene)
    (stored, _) = sorted(await scene.queues.scan("friends"), key=lambda each: each.ticket.user_id)

    assert stored.ticket.ticket_id == match.a.ticket_id
    assert await scene.lobby.pause(stored.ticket) is Standing.MATCHED
    assert await scene.lobby.resume(stored.ticket) is Standing.MATCHED
