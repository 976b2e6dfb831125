"""Nobody gets a place in a queue while it is not known whom they have blocked."""

import pytest

from base.errors import Unavailable
from base.ids import UserId
from tests.integration.matchmaker.scene import ANN, Scene


async def test_who_is_not_sure_of_their_blocks_gets_no_place(scene: Scene) -> None:
    """Nothing is taken; and they get one as soon as they are."""
    asked: list[UserId] = []

    async def not_yet(user_id: UserId) -> None:
        asked.append(user_id)
        if len(asked) == 1:
            raise Unavailable

    scene.lobby.make_sure_of_blocks = not_yet
    with pytest.raises(Unavailable):
        await scene.join("ann")
    before = await scene.activities.read(ANN)
    joined = await scene.join("ann")

    assert before.activity is None
    assert not joined.already
    assert asked == [ANN, ANN]
