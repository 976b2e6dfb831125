"""Whatever two people do and the store forgets, in whatever order: what one was told to be over is never permitted again."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from base.errors import MinuetError
from signaling.call import events
from signaling.call.record import ConsentEvent, ConsentKind
from signaling.call.states import RELAYING, SEATS, Seat
from signaling.node_frames import CallCommitted
from tests.integration.hub.forgetful_town import HE, SHE, Forgetful, forgetful_town
from tests.integration.hub.town import Node


@dataclass
class Witness:
    """What one person was told, and may hold the server to."""

    node: Node
    seat: Seat
    heard: int = 0
    allowed: dict[str, bool] = field(default_factory=lambda: {"a": True, "b": True})
    revoked_at: dict[str, int] = field(default_factory=dict)
    over: bool = False

    def listen(self, town: Forgetful, approved_at: int) -> None:
        """`approved_at`: when she last said yes; all times in ms since the epoch."""
        news, self.heard = self.node.person.heard[self.heard :], len(self.node.person.heard)
        knew, now = dict(self.revoked_at), self.node.clock.now_ms()
        # When it was taken away, not when that was heard: a node may learn late of a no that was followed by a yes.
        events = town.call_at(self.node).view.events
        for type_, data in news:
            flags: dict[str, bool] | None = data.get("video_allowed")
            if type_ == "call.state" and data["state"] in ("deciding", "ended"):
                self.over = True
                continue
            self.over |= type_ == "call.ended"
            for seat, allowed in (flags or {}).items():
                if allowed and not self.allowed[seat]:
                    assert approved_at > knew.get(seat, -1), "nobody has given that anew"
                if not allowed and self.allowed[seat]:
                    self.revoked_at[seat] = max(
                        (event.at for event in events if event.sender == seat and is_no(event)), default=now
                    )
                self.allowed[seat] = allowed

    def check(self, town: Forgetful) -> None:
        call = town.call_at(self.node)
        if self.over:
            assert call.view.state not in RELAYING
            return
        for seat in SEATS:
            assert self.allowed[seat] or not call.allowance(seat).send_video


def is_no(event: ConsentEvent) -> bool:
    return event.kind is ConsentKind.VIDEO_REVOKED


whose = st.sampled_from([0, 1])
acts: dict[str, Any] = {
    "she revokes": (SHE, events.VideoRevoked),
    "he revokes": (HE, events.VideoRevoked),
    "she allows": (SHE, lambda seat: events.VideoApproved(seat, "both")),
    "she narrows": (SHE, lambda seat: events.VideoApproved(seat, "receive")),
    "he asks": (HE, events.ExtensionRequested),
    "she hangs up": (SHE, events.HungUp),
    "he blocks": (HE, events.Blocked),
}
likely = [*acts, *(name for name in acts for _ in range(3) if "hangs" not in name and "blocks" not in name)]
occurrences = st.one_of(
    st.tuples(st.sampled_from(likely), whose),
    st.tuples(st.just("forgets"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["vanishes", "deliver", "deliver", "lose"]), whose),
    st.tuples(st.sampled_from(["reload", "reassert"]), whose),
)


async def happens(town: Forgetful, what: str, number: int) -> bool:
    """Lets something happen; whether it was a yes of hers, as far as it goes, that was taken."""
    match what:
        case "forgets":
            await town.forget_last(number)
        case "vanishes":
            await town.redis.delete(town.key)
        case "deliver":
            await town.deliver()
        case "lose":
            town.bus.way = type(town.bus.way)(
                item for item in town.bus.way if not isinstance(item[1], CallCommitted)
            )
        case "reload":
            await town.nodes[number].calls.catch_up(town.call_id)
        case "reassert":
            await town.nodes[number].calls.vouching.reassert_all()
        case act:
            who, event = acts[act]
            try:
                await town.nodes[number].calls.act(town.call_id, who, event)
            except MinuetError:
                return False
            return act in ("she allows", "she narrows")
    return False


async def play(redis_url: str, script: list[tuple[str, int]]) -> None:
    async with forgetful_town(redis_url) as town:
        witnesses = [Witness(node, node.seat) for node in town.nodes]
        approved_at = -1
        for what, number in script:
            if await happens(town, what, number):
                approved_at = town.hers.clock.now_ms()
            # Two things that people do lie more than a millisecond apart.
            await asyncio.sleep(0.003)
            for witness in witnesses:
                witness.listen(town, approved_at)
                witness.check(town)
            await town.remember()
        for _ in range(3):
            await town.deliver()
            await asyncio.gather(*(node.calls.vouching.reassert_all() for node in town.nodes))
            await asyncio.sleep(0.02)
        record = await town.stored()
        for witness in witnesses:
            witness.listen(town, approved_at)
            witness.check(town)
            assert not witness.over or record.state not in RELAYING
            for seat in SEATS:
                assert witness.allowed[seat] or not record.seat(seat).video_allowed


@example(script=[("she revokes", 1), ("she allows", 1), ("she revokes", 1), ("forgets", 2), ("reload", 0)])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(occurrences, min_size=4, max_size=16))
def test_nothing_that_was_told_to_be_over_is_ever_permitted_again(
    redis_url: str, script: list[tuple[str, int]]
) -> None:
    """On the node that told it, whatever is committed, lost and loaded; and in the end the store says so too."""
    asyncio.run(play(redis_url, script))
