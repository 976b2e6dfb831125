"""The commands of a call over REST: passed on, refused, or about no call at all."""

from typing import Any

from base.errors import ErrorCode, MinuetError
from rest.routes import interactions
from tests.integration.rest.call_paths import CALL, CALL_ID, VIDEO

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
