"""A command that is repeated with its key is done once, however it is repeated."""

import asyncio
from typing import Any

import pytest

from base.errors import ErrorCode, MinuetError
from rest import idempotency
from rest.ports import Reservation
from storage.redis.idempotency import RedisReplies
from tests.integration.rest.call_paths import CALL, CALL_ID, CONNECT, OTHER_CALL_ID, VIDEO


async def refused_and_repeated(house: Any, token: str, code: ErrorCode) -> tuple[Any, Any]:
    """The answers to a command that is refused, and to the same with its key when nothing is against it any more."""
    house.calls.refusal = MinuetError(code=code)
    refused = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
    house.calls.refusal = None
    return refused, await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})


async def test_a_repeated_command_with_its_key_is_done_once(house: Any) -> None:
    """And answered with the first one's very words, request id included."""
    token = (await house.sign_up())["access_token"]
    first = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
    again = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
    other = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k2"})
    without = await house.post(VIDEO, token=token)

    assert (await first.read()) == (await again.read())
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [(await answer.json())["data"]["time"] for answer in (other, without)] == [2, 3]


async def test_a_key_belongs_to_its_user_and_route(house: Any) -> None:
    """Another user's same key is another key, and so is the same one on another route."""
    first, second = [(await house.sign_up())["access_token"] for _ in range(2)]
    await house.post(VIDEO, token=first, headers={"Idempotency-Key": "k1"})
    theirs = await house.post(VIDEO, token=second, headers={"Idempotency-Key": "k1"})
    elsewhere = await house.post(CONNECT, token=first, headers={"Idempotency-Key": "k1"})

    assert (theirs.status, elsewhere.status) == (200, 200)
    assert "Idempotency-Replayed" not in theirs.headers
    assert "Idempotency-Replayed" not in elsewhere.headers
    assert len(house.calls.asked) == 3


async def test_a_key_on_another_request_is_a_conflict(house: Any) -> None:
    """Another call, or other words for the same one: the client mixed something up."""
    token = (await house.sign_up())["access_token"]
    key = {"Idempotency-Key": "k1"}
    approval = f"{CALL}/video-approval"
    await house.post(approval, {"direction": "receive"}, token, headers=key)
    same = await house.post(approval, {"direction": "receive", "unknown": 1}, token, headers=key)
    other_body = await house.post(approval, {"direction": "both"}, token, headers=key)
    other_call = await house.post(
        approval.replace(CALL_ID, OTHER_CALL_ID), {"direction": "receive"}, token, headers=key
    )

    assert same.headers["Idempotency-Replayed"] == "true"
    assert [answer.status for answer in (other_body, other_call)] == [409, 409]
    assert (await other_body.json())["error"]["code"] == "conflict"
    assert len(house.calls.asked) == 1


@pytest.mark.parametrize(
    "code", [ErrorCode.PEER_RECONNECTING, ErrorCode.COOLDOWN, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL]
)
async def test_what_may_go_better_the_next_time_is_done_again(house: Any, code: ErrorCode) -> None:
    """With the same key."""
    token = (await house.sign_up())["access_token"]
    refused, done = await refused_and_repeated(house, token, code)

    assert refused.status >= 400
    assert done.status == 200
    assert "Idempotency-Replayed" not in done.headers


@pytest.mark.parametrize(
    "code", [ErrorCode.BAD_STATE, ErrorCode.NOT_A_PARTICIPANT, ErrorCode.FORBIDDEN_ROLE, ErrorCode.CALL_ENDED]
)
async def test_a_final_refusal_is_the_answer_to_its_key(house: Any, code: ErrorCode) -> None:
    """A retry must not do what the user was told had not happened."""
    token = (await house.sign_up())["access_token"]
    refused, again = await refused_and_repeated(house, token, code)
    anew = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k2"})

    assert again.status == refused.status
    assert await again.read() == await refused.read()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert anew.status == 200


async def test_what_is_kept_for_later_is_not_the_last_word(house: Any) -> None:
    """202 as long as the call is out of reach; then the same key tells what became of it."""
    token = (await house.sign_up())["access_token"]
    for path in ("hangup", "video-revocation", "pass"):
        house.calls.out_of_reach = True
        kept = await house.post(f"{CALL}/{path}", token=token, headers={"Idempotency-Key": "k1"})
        house.calls.out_of_reach = False
        done = await house.post(f"{CALL}/{path}", token=token, headers={"Idempotency-Key": "k1"})

        assert kept.status == 202, path
        assert (await kept.json())["data"] == {"pending": True}
        assert done.status == 200
        assert "Idempotency-Replayed" not in done.headers


async def test_the_same_command_at_once_is_done_once_for_all(house: Any) -> None:
    """The others wait for its answer."""
    token = (await house.sign_up())["access_token"]
    answers = await asyncio.gather(
        *(house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"}) for _ in range(10))
    )

    assert len(house.calls.asked) == 1
    assert {answer.status for answer in answers} == {200}
    assert len({await answer.read() for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 9


async def test_who_waits_too_long_for_the_first_is_told_to_come_back(house: Any) -> None:
    """A slow one is not done twice."""
    data = await house.sign_up()
    token = data["access_token"]
    house.calls.gate = asyncio.Event()
    first = asyncio.create_task(house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"}))
    while not house.calls.asked:
        await asyncio.sleep(0.01)
    second = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
    house.calls.gate.set()
    answer = await first

    assert second.status == 409
    assert (await second.json())["error"]["details"]["retry_after_ms"] > 0
    assert answer.status == 200
    assert len(house.calls.asked) == 1


async def nothing_is_kept(replies: RedisReplies, reservation: Reservation, status: int, body: bytes) -> None:
    """As if the node had died with the answer in its hands."""


async def test_leaving_does_not_wait_for_a_twin_that_has_died(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node left nothing but a reservation: what only takes something away is done all the same."""
    token = (await house.sign_up())["access_token"]
    monkeypatch.setattr(idempotency, "_LOOKS_S", (0.01, 0.01))
    monkeypatch.setattr(RedisReplies, "finish", nothing_is_kept)
    for path in ("hangup", "video-revocation", "pass"):
        unfinished = await house.post(f"{CALL}/{path}", token=token, headers={"Idempotency-Key": "k1"})
        again = await house.post(f"{CALL}/{path}", token=token, headers={"Idempotency-Key": "k1"})

        assert (unfinished.status, again.status) == (200, 200), path
        assert "Idempotency-Replayed" not in again.headers
    assert len(house.calls.asked) == 6


async def test_two_keys_are_refused(house: Any) -> None:
    """Different servers might pick different ones: a proxy that doubles headers is no reason to do things twice."""
    token = (await house.sign_up())["access_token"]
    headers = [
        ("Authorization", f"Bearer {token}"),
        ("Idempotency-Key", "k1"),
        ("Idempotency-Key", "k2"),
    ]
    answer = await house.client.post(VIDEO, headers=headers)

    assert answer.status == 400
    assert house.calls.asked == []


UNFIT_KEYS = ["", "x" * 129, "a b", "é"]


async def test_a_key_has_a_form(house: Any) -> None:
    """Short and printable."""
    token = (await house.sign_up())["access_token"]
    for key in UNFIT_KEYS:
        answer = await house.post(VIDEO, token=token, headers={"Idempotency-Key": key})

        assert answer.status == 400, key
        assert (await answer.json())["error"]["details"]["field"] == "Idempotency-Key"
