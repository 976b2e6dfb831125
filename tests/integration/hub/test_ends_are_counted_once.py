"""What operators read of the ends of calls, and of the consent in them: each once, however many nodes have the call."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import Counter

from base.ids import UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.call.record import ConsentKind
from signaling.call.states import EndReason, State
from signaling.metrics import CallMetrics
from tests.integration.hub.town import Town, opened_town

SHE, HE = UserId("she"), UserId("he")


def counted(counter: Counter) -> dict[str, float]:
    """What is above 0, by the counter's one label."""
    return {
        next(iter(sample.labels.values())): sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.value
    }


def added(town: Town, of: Callable[[CallMetrics], Counter]) -> dict[str, float]:
    """Over both nodes, as Prometheus adds them up."""
    hers, his = counted(of(town.hers.metrics)), counted(of(town.his.metrics))
    return {kind: hers.get(kind, 0) + his.get(kind, 0) for kind in hers | his}


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_call_of_two_nodes_ends_once(redis_url: str, at_once: bool) -> None:
    """Also where both hang up at the same moment: one of them finds the end in the store."""
    async with opened_town(redis_url, IntentPolicy(revoke_window_s=60)) as town:
        await town.hers.calls.act(town.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
        await town.deliver()
        await town.hers.calls.act(town.call_id, SHE, events.VideoRevoked)
        await town.deliver()
        hang_ups = [
            town.hers.calls.act(town.call_id, SHE, events.HungUp),
            town.his.calls.act(town.call_id, HE, events.HungUp),
        ]
        if at_once:
            await asyncio.gather(*hang_ups, return_exceptions=True)
        else:
            await hang_ups.pop(0)
            await town.deliver()
            hang_ups.pop().close()
        await town.deliver()

        record = await town.hers.store.load(town.call_id)
        assert record is not None
        assert record.call.state is State.ENDED
        assert added(town, lambda metrics: metrics.ended) == {EndReason.HANGUP: 1}
        assert added(town, lambda metrics: metrics.consent) == {
            ConsentKind.VIDEO_ALLOWED: 2,
            ConsentKind.VIDEO_REVOKED: 2,
        }
