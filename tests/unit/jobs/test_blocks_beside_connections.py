"""Whom the recorder does not connect, though both wanted it in their call."""

import pytest

from base.errors import Unavailable
from base.ids import UserId
from jobs.connections import MadeConnections
from signaling.call.record import Call
from signaling.courier import ConnectionTeller
from tests.contract.calls.call_records import connected, ended


class Blocks:
    """Whom users do not meet."""

    def __init__(self, blocks: dict[str, set[str]]) -> None:
        self.blocks_of = blocks
        self.asked: list[str] = []

    async def blocks(self, user_id: UserId) -> set[str]:
        self.asked.append(user_id)
        return self.blocks_of.get(user_id, set())


class Away:
    async def blocks(self, user_id: UserId) -> set[str]:
        raise Unavailable


def of(blocks: Blocks | Away) -> MadeConnections:
    teller: ConnectionTeller = None  # type: ignore[assignment]  # nobody is told here
    return MadeConnections(blocks, teller, lambda: 0)


def calls() -> tuple[Call, Call, Call]:
    return connected(ended("ada", "bob")), connected(ended("ada", "carl")), ended("eve", "dan")


async def test_two_who_block_each_other_are_kept_apart_in_their_call_only() -> None:
    """Whoever did not connect is not asked about."""
    blocks = Blocks({"ada": {"bob"}, "eve": {"dan"}})
    blocked, other, ended_call = calls()

    assert await of(blocks).apart([blocked, other, ended_call]) == {blocked.call_id}
    assert set(blocks.asked) == {"ada"}


async def test_nobody_is_connected_while_it_is_not_known_who_is_kept_apart() -> None:
    """The calls wait."""
    with pytest.raises(Unavailable):
        await of(Away()).apart(calls())
