"""Rating a call: who may, when, in what form, and who sees it."""

from typing import Any

import msgspec
import pytest

from base.ids import UserId
from signaling.call.record import Call
from signaling.call.states import State
from signaling.feedback import FeedbackTag
from storage.postgres.calls import PostgresCallArchive, PostgresHistory
from tests.contract.calls.call_records import ended, moved, proposed

SOUND = {"rating": 4, "tags": ["friendly", "bad_sound"], "note": " Nice.\r\nBut far away. "}


class Scene:
    """She and he in a call, and a stranger."""

    def __init__(
        self, house: Any, her: dict[str, Any], him: dict[str, Any], stranger: dict[str, Any]
    ) -> None:
        self.house = house
        self.her, self.him, self.stranger = her, him, stranger
        self.call = proposed(self.id_of(her), self.id_of(him))

    @staticmethod
    def id_of(person: dict[str, Any]) -> UserId:
        return UserId(person["user"]["id"])

    def stands(self, call: Call) -> None:
        """The call is known to the hubs, as it is now."""
        self.call = call
        self.house.attendance.calls[call.call_id] = call

    async def rate(self, person: dict[str, Any], body: object = None, **options: Any) -> Any:
        path = f"/api/v1/interactions/{self.call.call_id}/feedback"
        return await self.house.post(path, SOUND if body is None else body, person["access_token"], **options)

    async def seen_by(self, person: dict[str, Any]) -> list[Any]:
        history = PostgresHistory(self.house.store._pool)
        found = await history.interactions(self.id_of(person), before=None, limit=10)
        return [one.feedback for one in found]


@pytest.fixture
async def scene(house: Any) -> Scene:
    return Scene(house, await house.sign_up(), await house.sign_up(gender="male"), await house.sign_up())


async def test_a_call_that_is_over_is_rated_before_it_is_in_history(scene: Scene) -> None:
    """What was said waits for the call there."""
    scene.stands(ended(scene.id_of(scene.her), scene.id_of(scene.him)))
    answer = await scene.rate(scene.her)
    data = (await answer.json())["data"]
    nothing_yet = await scene.seen_by(scene.her)
    await PostgresCallArchive(scene.house.store._pool).record([scene.call])
    [seen] = await scene.seen_by(scene.her)

    assert answer.status == 200
    assert (data["rating"], data["tags"], data["note"]) == (4, SOUND["tags"], "Nice.\nBut far away.")
    assert nothing_yet == []
    assert (seen.rating, seen.given_at) == (4, data["given_at"])
    assert await scene.seen_by(scene.him) == [None]


async def test_a_call_that_only_history_knows_is_rated_too(scene: Scene) -> None:
    """Its record among the live calls has expired."""
    scene.call = ended(scene.id_of(scene.her), scene.id_of(scene.him))
    early = await scene.rate(scene.him)
    await PostgresCallArchive(scene.house.store._pool).record([scene.call])
    late = await scene.rate(scene.him)
    strange = await scene.rate(scene.stranger)

    assert (early.status, late.status, strange.status) == (404, 200, 404)
    assert (await strange.json())["error"]["code"] == "not_a_participant"


async def test_the_last_word_counts(scene: Scene) -> None:
    """Rating again replaces all that was said; when it was first said stays."""
    scene.stands(ended(scene.id_of(scene.her), scene.id_of(scene.him)))
    first = (await (await scene.rate(scene.her)).json())["data"]
    second = (await (await scene.rate(scene.her, {"rating": 1})).json())["data"]
    await scene.rate(scene.him, {"rating": 5})
    await PostgresCallArchive(scene.house.store._pool).record([scene.call])

    assert second == {"rating": 1, "tags": [], "note": None, "given_at": first["given_at"]}
    assert [one.rating for one in await scene.seen_by(scene.her)] == [1]
    assert [one.rating for one in await scene.seen_by(scene.him)] == [5]


async def test_nobody_rates_a_call_that_goes_on_for_them(scene: Scene) -> None:
    """A guest is free while she decides; she is not."""
    her, him = scene.id_of(scene.her), scene.id_of(scene.him)
    for state in (State.PROPOSED, State.CONNECTING, State.LIVE, State.RECONNECTING, State.DECIDING):
        scene.stands(moved(proposed(her, him), state))
        answer = await scene.rate(scene.her)

        assert answer.status == 409, state
        assert (await answer.json())["error"]["code"] == "bad_state"
    call = moved(proposed(her, him), State.DECIDING)
    scene.stands(msgspec.structs.replace(call, b=msgspec.structs.replace(call.b, freed=True)))

    assert (await scene.rate(scene.him)).status == 200
    assert (await scene.rate(scene.her)).status == 409
    assert (await scene.rate(scene.stranger)).status == 404


UNFIT = [
    ({}, "rating"),
    ({"rating": 0}, "rating"),
    ({"rating": 6}, "rating"),
    ({"rating": 4.5}, "rating"),
    ({"rating": "4"}, "rating"),
    ({"rating": True}, "rating"),
    ({"rating": 4, "tags": ["handsome"]}, "tags"),
    ({"rating": 4, "tags": "friendly"}, "tags"),
    ({"rating": 4, "tags": ["friendly"] * 9}, "tags"),
    ({"rating": 4, "note": "x" * 1_001}, "note"),
    ({"rating": 4, "note": "a\x00b"}, "note"),
    ({"rating": 4, "note": "\x1b[31m"}, "note"),
    ({"rating": 4, "note": "\u0958" * 600}, "note"),  # comes apart when it is composed
    ({"rating": 4, "note": 7}, "note"),
]


async def test_feedback_has_a_form(scene: Scene) -> None:
    """What does not fit is named and keeps nothing."""
    scene.stands(ended(scene.id_of(scene.her), scene.id_of(scene.him)))
    for body, field in UNFIT:
        answer = await scene.rate(scene.her, body)

        assert answer.status == 400, body
        assert (await answer.json())["error"]["details"]["field"].startswith(field), body
    count = await scene.house.store._pool.fetchval("SELECT count(*) FROM calls.feedback")
    assert count == 0


async def test_every_word_of_the_list_is_taken_once(scene: Scene) -> None:
    """In the order in which it was said."""
    scene.stands(ended(scene.id_of(scene.her), scene.id_of(scene.him)))
    words = [tag.value for tag in FeedbackTag]
    for start in range(0, len(words), 4):
        share = words[start : start + 4]
        answer = await scene.rate(scene.her, {"rating": 3, "tags": share + share[:1], "note": "  "})

        assert (await answer.json())["data"]["tags"] == share
        assert (await answer.json())["data"]["note"] is None


async def test_a_key_makes_it_once(scene: Scene) -> None:
    """Other words under the same key are a conflict, and do not count."""
    scene.stands(ended(scene.id_of(scene.her), scene.id_of(scene.him)))
    key = {"Idempotency-Key": "k1"}
    first = await scene.rate(scene.her, {"rating": 2}, headers=key)
    again = await scene.rate(scene.her, {"rating": 2}, headers=key)
    other = await scene.rate(scene.her, {"rating": 5}, headers=key)

    assert again.headers["Idempotency-Replayed"] == "true"
    assert await again.read() == await first.read()
    assert other.status == 409
    assert await scene.house.store._pool.fetchval("SELECT rating FROM calls.feedback") == 2


async def test_feedback_goes_with_the_account_of_its_author(scene: Scene) -> None:
    """And stays when the other's goes; an account that is closed says nothing more."""
    pool = scene.house.store._pool
    scene.stands(ended(scene.id_of(scene.her), scene.id_of(scene.him)))
    await scene.rate(scene.her)
    await scene.rate(scene.him)
    await pool.execute("UPDATE accounts.users SET deleted_at = now() WHERE id = $1", scene.id_of(scene.him))
    closed = await scene.rate(scene.him, {"rating": 1})
    await pool.execute("DELETE FROM accounts.users WHERE id = $1", scene.id_of(scene.him))
    left = await pool.fetch("SELECT user_id::text, rating FROM calls.feedback")

    assert closed.status == 404
    assert [tuple(row) for row in left] == [(scene.id_of(scene.her), 4)]
