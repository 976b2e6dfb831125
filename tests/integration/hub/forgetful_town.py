"""Two nodes over one real store that loses acknowledged commits: its record is replaced by an older one, or gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from base.ids import UserId
from base.policy import IntentPolicy
from signaling import vouching
from signaling.call import events
from signaling.call.record import Call
from storage.redis.keys import Keys
from tests.integration.hub.town import Node, Town

SHE, HE = UserId("she"), UserId("he")


class Forgetful(Town):
    """A live call whose record the test can take back to what it was."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self.past: list[bytes] = []

    @property
    def key(self) -> str:
        return Keys().call(self.call_id)

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.hers, self.his

    async def remember(self) -> None:
        record = await self.redis.dump(self.key)
        if record is not None and record not in self.past[-1:]:
            self.past.append(record)

    async def forget_last(self, how_many: int) -> None:
        """The store loses the last commits."""
        back = self.past[max(0, len(self.past) - 1 - how_many)]
        await self.redis.restore(self.key, 0, back, replace=True)

    async def stored(self) -> Call:
        record = await self.hers.store.load(self.call_id)
        assert record is not None
        return record.call

    async def until(self, fits: Callable[[Call], bool]) -> Call:
        async with asyncio.timeout(10):
            while True:
                record = await self.hers.store.load(self.call_id)
                if record is not None and fits(record.call):
                    return record.call
                await asyncio.sleep(0.01)
                await self.deliver()


@asynccontextmanager
async def forgetful_town(redis_url: str) -> AsyncIterator[Forgetful]:
    """The two talk and see each other; what their nodes put back, they put back without spreading it over time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vouching, "_WITHIN_S", 0.0)
        town = Forgetful(redis_url)
        async with town.running():
            # Time for whoever renegotiates: what is tried here is not the window.
            await town.connecting_call(IntentPolicy(revoke_window_s=60))
            await town.go_live()
            await town.hers.calls.act(town.call_id, SHE, lambda seat: events.VideoApproved(seat, "both"))
            await town.deliver()
            await town.remember()
            yield town


def off(call: Call) -> bool:
    return not call.a.video_allowed and not call.b.video_allowed
