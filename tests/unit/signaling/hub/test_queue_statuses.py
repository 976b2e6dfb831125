"""Looking after those who wait must not hold up all the others of a large node."""

import asyncio
import contextlib

from prometheus_client import CollectorRegistry

from accounts.model import Identity, Role
from base.clock import ManualClock
from base.ids import DeviceId, SessionId, UserId
from base.policy import Gender
from matchmaker.outlook import Outlook
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.metrics import SessionMetrics
from signaling.protocol.codec import JSON
from signaling.queue_status import QueueStatuses
from signaling.session.limits import SessionLimits
from signaling.session.session import Session
from signaling.session_shell import SessionShell
from tests.unit.signaling.hub.live_scene import Services

SESSIONS = 4_096


class NoPools:
    """Pools of which no owner says anything."""

    async def outlook(self, pool: str) -> Outlook | None:
        return None


def full_hub(clock: ManualClock) -> Hub:
    """A node whose people do all kinds of things, but for waiting."""
    metrics, services, limits = SessionMetrics(CollectorRegistry()), Services(), SessionLimits()
    hub = Hub(clock, metrics)
    shell = SessionShell(clock, limits, services, services, metrics, False, hub.standstill)
    for number in range(SESSIONS):
        identity = Identity(
            UserId(f"user-{number}"), Role.USER, Gender.FEMALE, "family", clock.now_ms, clock.now_ms + 900_000
        )
        session = Session(SessionId(f"session-{number}"), JSON, limits, clock.now_ms)
        hub.add(LiveSession(shell, session, identity, DeviceId("device"), 1))
    return hub


async def test_those_who_do_not_wait_are_walked_past_with_breaths() -> None:
    """Everything else in the loop gets its turn every few hundred sessions."""
    clock, turns = ManualClock(), 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    statuses = QueueStatuses(full_hub(clock), NoPools(), clock)
    others = asyncio.create_task(take_turns())
    await statuses.look()
    others.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await others

    assert turns >= SESSIONS // 512
