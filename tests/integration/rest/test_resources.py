"""Profile, history, the commands of a call, and what operators see."""

import asyncio
from typing import Any

import pytest

from accounts.model import Role
from base.errors import ErrorCode, MinuetError
from rest.ports import Interaction, InteractionPeer

CALL_ID = "0192f0c1-2345-7abc-8def-0123456789ab"
CONNECT = f"/api/v1/interactions/{CALL_ID}/connect"
VIDEO = f"/api/v1/interactions/{CALL_ID}/video-request"
HISTORY = "/api/v1/history/interactions"


async def put(house: Any, token: str, body: object) -> Any:
    return await house.client.put("/api/v1/profile", json=body, headers={"Authorization": f"Bearer {token}"})


def a_call(number: int, ended_at: int) -> Interaction:
    return Interaction(
        call_id=f"0192f0c1-2345-7abc-8def-{number:012}",
        intent="dating",
        role="controller",
        peer=InteractionPeer(first_name="Bob"),
        started_at=ended_at - 1_000,
        ended_at=ended_at,
        duration_ms=1_000,
        reason="hangup",
        connected=False,
    )


async def test_a_profile_is_read_and_replaced(house: Any) -> None:
    """What is left out becomes empty; gender, birth date and address stay whatever is sent."""
    data = await house.sign_up(languages=["en"], region="eu", locale="en")
    answer = await put(
        house,
        data["access_token"],
        {
            "first_name": " Augusta ",
            "languages": ["PT-br"],
            "gender": "male",
            "birth_date": "2001-01-01",
            "email": "x@y.org",
            "role": "admin",
        },
    )
    changed = (await answer.json())["data"]["user"]
    read = (await (await house.get("/api/v1/profile", data["access_token"])).json())["data"]["user"]

    assert answer.status == 200
    assert changed == data["user"] | {
        "first_name": "Augusta",
        "languages": ["pt"],
        "region": None,
        "locale": None,
    }
    assert read == changed


UNFIT_PROFILES = [
    ({}, "first_name"),
    ({"first_name": ""}, "first_name"),
    ({"first_name": "A", "languages": ["x"]}, "languages"),
    ({"first_name": "A", "languages": "en"}, "languages"),
    ({"first_name": "A", "region": "é"}, "region"),
    ({"first_name": "A\x00"}, "first_name"),
]


async def test_a_profile_that_does_not_fit_changes_nothing(house: Any) -> None:
    """All or nothing."""
    data = await house.sign_up()
    for body, field in UNFIT_PROFILES:
        answer = await put(house, data["access_token"], body)
        read = (await (await house.get("/api/v1/profile", data["access_token"])).json())["data"]["user"]

        assert answer.status == 400, body
        assert (await answer.json())["error"]["details"]["field"] == field
        assert read == data["user"]


async def test_history_is_read_page_by_page(house: Any) -> None:
    """Newest first, calls of the same millisecond among them, each exactly once, one's own only."""
    data, stranger = await house.sign_up(), await house.sign_up()
    calls = [a_call(number, 1_793_016_000_000 + number // 3) for number in range(25)]
    house.history.of[data["user"]["id"]] = calls
    pages: list[dict[str, Any]] = []
    cursor = ""
    while len(pages) < 10:
        answer = await house.get(f"{HISTORY}?limit=10{cursor}", data["access_token"])
        assert answer.status == 200
        pages.append(await answer.json())
        if not pages[-1]["meta"]["has_more"]:
            break
        cursor = f"&cursor={pages[-1]['meta']['next_cursor']}"

    seen = [one["call_id"] for page in pages for one in page["data"]]
    assert [len(page["data"]) for page in pages] == [10, 10, 5]
    assert seen == [one.call_id for one in reversed(calls)]
    assert pages[-1]["meta"] == {"next_cursor": None, "has_more": False}
    assert set(pages[0]["data"][0]) == {
        "call_id",
        "intent",
        "role",
        "peer",
        "started_at",
        "ended_at",
        "duration_ms",
        "reason",
        "connected",
        "connection_id",
    }
    theirs = await house.get(f"{HISTORY}?limit=10{cursor}", stranger["access_token"])
    assert (await theirs.json())["data"] == []


async def test_a_page_that_is_exactly_full_is_the_last(house: Any) -> None:
    """Nobody is sent for an empty page."""
    data = await house.sign_up()
    house.history.of[data["user"]["id"]] = [a_call(number, 1_793_016_000_000) for number in range(20)]

    body = await (await house.get(HISTORY, data["access_token"])).json()
    assert len(body["data"]) == 20
    assert body["meta"] == {"next_cursor": None, "has_more": False}


UNFIT_QUERIES = [
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=ten", "limit"),
    ("limit=1.5", "limit"),
    ("limit=", "limit"),
    ("limit=1&limit=2", "limit"),
    ("cursor=", "cursor"),
    ("cursor=nonsense", "cursor"),
    ("cursor=" + "A" * 300, "cursor"),
    ("cursor=%00", "cursor"),
    ("cursor=%ff%fe", "cursor"),
]


async def test_a_query_that_does_not_fit_is_named(house: Any) -> None:
    """Never an error of ours."""
    token = (await house.sign_up())["access_token"]
    for query, field in UNFIT_QUERIES:
        answer = await house.get(f"{HISTORY}?{query}", token)

        assert answer.status == 400, query
        assert (await answer.json())["error"]["details"]["field"] == field


@pytest.mark.parametrize(("path", "command"), [(CONNECT, "connect"), (VIDEO, "request_video")])
async def test_a_command_is_passed_on_with_its_caller(house: Any, path: str, command: str) -> None:
    """And its answer comes back."""
    data = await house.sign_up()
    answer = await house.post(path, token=data["access_token"])

    assert answer.status == 200
    assert (await answer.json())["data"] == {"call_id": CALL_ID, "time": 1}
    assert house.calls.asked == [(command, CALL_ID, data["user"]["id"])]


REFUSALS = [
    (ErrorCode.NOT_A_PARTICIPANT, 404),
    (ErrorCode.FORBIDDEN_ROLE, 403),
    (ErrorCode.BAD_STATE, 409),
    (ErrorCode.COOLDOWN, 429),
    (ErrorCode.UNAVAILABLE, 503),
]


async def test_a_refused_command_keeps_its_code(house: Any) -> None:
    """The same as over the socket."""
    token = (await house.sign_up())["access_token"]
    for code, status in REFUSALS:
        house.calls.refusal = MinuetError(code=code)
        answer = await house.post(VIDEO, token=token)

        assert answer.status == status, code
        assert (await answer.json())["error"]["code"] == code.value


NO_CALL_IDS = ["1", "x" * 300, CALL_ID.upper(), "%00", "..%2f..%2fadmin", "%ff"]


async def test_what_is_no_call_id_is_a_call_one_is_not_in(house: Any) -> None:
    """Nobody downstream has to look at it."""
    token = (await house.sign_up())["access_token"]
    for call_id in NO_CALL_IDS:
        answer = await house.post(f"/api/v1/interactions/{call_id}/connect", token=token)

        assert answer.status == 404, call_id
        assert house.calls.asked == []


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


async def test_a_key_belongs_to_its_user_and_request(house: Any) -> None:
    """Another user's same key is another key; another request with it is a conflict."""
    first, second = [(await house.sign_up())["access_token"] for _ in range(2)]
    await house.post(VIDEO, token=first, headers={"Idempotency-Key": "k1"})
    theirs = await house.post(VIDEO, token=second, headers={"Idempotency-Key": "k1"})
    mixed_up = await house.post(CONNECT, token=first, headers={"Idempotency-Key": "k1"})

    assert theirs.status == 200
    assert "Idempotency-Replayed" not in theirs.headers
    assert mixed_up.status == 409
    assert len(house.calls.asked) == 2


async def test_a_refused_command_may_be_tried_again_with_its_key(house: Any) -> None:
    """A refusal changed nothing, so it is not remembered."""
    token = (await house.sign_up())["access_token"]
    house.calls.refusal = MinuetError(code=ErrorCode.PEER_RECONNECTING)
    refused = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
    house.calls.refusal = None
    done = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})

    assert (refused.status, done.status) == (409, 200)


async def test_of_the_same_command_at_once_one_is_done(house: Any) -> None:
    """The others get its answer or are told that it is on its way."""
    token = (await house.sign_up())["access_token"]
    answers = await asyncio.gather(
        *(house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"}) for _ in range(10))
    )

    assert len(house.calls.asked) == 1
    assert {answer.status for answer in answers} <= {200, 409}
    assert any(answer.status == 200 for answer in answers)


UNFIT_KEYS = ["", "x" * 129, "a b", "é"]


async def test_a_key_has_a_form(house: Any) -> None:
    """Short and printable."""
    token = (await house.sign_up())["access_token"]
    for key in UNFIT_KEYS:
        answer = await house.post(VIDEO, token=token, headers={"Idempotency-Key": key})

        assert answer.status == 400, key
        assert (await answer.json())["error"]["details"]["field"] == "Idempotency-Key"


@pytest.mark.parametrize("role", [Role.MODERATOR, Role.ADMIN])
async def test_operators_see_who_is_here_in_numbers(house: Any, role: Role) -> None:
    """Users by state, queues by intent and side, calls by state, nodes."""
    token = (await house.sign_up(role))["access_token"]
    answer = await house.get("/api/v1/admin/presence", token)

    data = (await answer.json())["data"]
    assert data["users"] == {"online": 3, "idle": 3, "queued": 0, "in_call": 0, "reconnecting": 0}
    assert data["queues"] == {"dating": {"female": {"waiting": 2}}}
    assert data["calls"] == {"live": 1}
    assert [node["node_id"] for node in data["nodes"]] == ["n1"]
