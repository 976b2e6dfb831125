"""Profile, history, the commands of a call, and what operators see."""

import asyncio
from typing import Any

import pytest

from accounts.model import Role
from base.errors import ErrorCode, MinuetError
from rest import idempotency
from rest.ports import Interaction, InteractionPeer, Reservation
from rest.routes import interactions
from storage.redis.idempotency import RedisReplies

CALL_ID = "0192f0c1-2345-7abc-8def-0123456789ab"
CONNECT = f"/api/v1/interactions/{CALL_ID}/connect"
VIDEO = f"/api/v1/interactions/{CALL_ID}/video-request"
CALL = f"/api/v1/interactions/{CALL_ID}"
OTHER_CALL_ID = "0192f0c1-2345-7abc-8def-0123456789ac"
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
        "feedback",
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


TWINS = [
    ("connect", None, "connect"),
    ("pass", None, "pass_by"),
    ("video-request", None, "request_video"),
    ("video-approval", {"direction": "both"}, "approve_video both"),
    ("video-approval", {"direction": "receive"}, "approve_video receive"),
    ("video-denial", None, "deny_video"),
    ("video-revocation", None, "revoke_video"),
    ("hangup", None, "hang_up"),
]


async def test_a_command_is_passed_on_with_its_caller(house: Any) -> None:
    """And its answer comes back; the table above names every command that there is."""
    data = await house.sign_up()
    for number, (path, body, command) in enumerate(TWINS, 1):
        answer = await house.post(f"{CALL}/{path}", body, data["access_token"])

        assert answer.status == 200, path
        assert (await answer.json())["data"] == {"call_id": CALL_ID, "time": number}
        assert house.calls.asked[-1] == (command, CALL_ID, data["user"]["id"])
    served = {
        endpoint.path.rsplit("/", 1)[1] for endpoint in interactions.ENDPOINTS if endpoint.idempotent_by_key
    }
    assert {path for path, _, _ in TWINS} == served - {"feedback"}


async def test_video_is_approved_only_in_plain_words(house: Any) -> None:
    """Nobody is shown by a default."""
    token = (await house.sign_up())["access_token"]
    for body in ({}, {"direction": "send"}, {"direction": None}, {"direction": ["both"]}):
        answer = await house.post(f"{CALL}/video-approval", body, token)

        assert answer.status == 400, body
        assert (await answer.json())["error"]["details"]["field"] == "direction"
    assert house.calls.asked == []


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
    house.calls.refusal = MinuetError(code=code)
    refused = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
    house.calls.refusal = None
    done = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})

    assert refused.status >= 400
    assert done.status == 200
    assert "Idempotency-Replayed" not in done.headers


@pytest.mark.parametrize(
    "code", [ErrorCode.BAD_STATE, ErrorCode.NOT_A_PARTICIPANT, ErrorCode.FORBIDDEN_ROLE, ErrorCode.CALL_ENDED]
)
async def test_a_final_refusal_is_the_answer_to_its_key(house: Any, code: ErrorCode) -> None:
    """A retry must not do what the user was told had not happened."""
    token = (await house.sign_up())["access_token"]
    house.calls.refusal = MinuetError(code=code)
    refused = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
    house.calls.refusal = None
    again = await house.post(VIDEO, token=token, headers={"Idempotency-Key": "k1"})
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


@pytest.mark.parametrize("role", [Role.MODERATOR, Role.ADMIN])
async def test_operators_see_who_is_here_in_numbers(house: Any, role: Role) -> None:
    """Users by state, queues by intent and side, calls by state, nodes."""
    token = (await house.sign_up(role))["access_token"]
    answer = await house.get("/api/v1/admin/presence", token)

    data = (await answer.json())["data"]
    assert data["users"] == {"online": 3, "idle": 3, "away": 0, "queued": 0, "in_call": 0, "reconnecting": 0}
    assert data["queues"] == {"dating": {"female": {"waiting": 2}}}
    assert data["calls"] == {"live": 1}
    assert [node["node_id"] for node in data["nodes"]] == ["n1"]


async def test_admins_see_how_the_queues_do(house: Any) -> None:
    """Depth, waits and speed by side, and why people do not fit; moderators have no business there."""
    admin, moderator = [(await house.sign_up(role))["access_token"] for role in (Role.ADMIN, Role.MODERATOR)]
    answer = await house.get("/api/v1/admin/queues", admin)
    refused = await house.get("/api/v1/admin/queues", moderator)

    queue = (await answer.json())["data"]["queues"]["dating"]
    assert queue["sides"]["female"]["depth"]["waiting"] == 2
    assert queue["sides"]["female"]["waiting_s"] == {"p50": 3, "p90": 20, "p99": 40}
    assert queue["rejections"] == {"age": 7}
    assert refused.status == 403
