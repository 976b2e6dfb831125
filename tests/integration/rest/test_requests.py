"""What surrounds every request: ids, envelopes, bodies that are none, and errors nobody foresaw."""

import asyncio
import gzip
import json
import re
from typing import Any

import pytest
import structlog
from aiohttp import web

from accounts.model import Role
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import is_uuid
from rest.policies import Policy, declare
from rest.settings import Limits, RestSettings

LOGIN = "/api/v1/auth/login"


async def error_of(answer: Any) -> dict[str, Any]:
    body = await answer.json()
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    assert set(body["error"]) == {"code", "message", "details", "request_id"}
    assert body["error"]["request_id"] == answer.headers["X-Request-ID"]
    error: dict[str, Any] = body["error"]
    return error


async def send_raw(house: Any, body: bytes, content_type: str = "application/json", **headers: str) -> Any:
    return await house.client.post(LOGIN, data=body, headers={"Content-Type": content_type, **headers})


async def test_success_has_the_envelope(house: Any) -> None:
    """Data, meta and the request's id; times are integers."""
    token = (await house.sign_up())["access_token"]
    answer = await house.get("/api/v1/auth/me", token)
    body = await answer.json()

    assert set(body) == {"success", "data", "meta", "request_id"}
    assert body["success"] is True
    assert body["meta"] == {}
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert isinstance(body["data"]["user"]["created_at"], int)
    assert answer.content_type == "application/json"


async def test_a_request_id_is_made_where_none_is_given(house: Any) -> None:
    """A new one each time."""
    ids = {(await house.get("/healthz")).headers["X-Request-ID"] for _ in range(3)}

    assert len(ids) == 3
    assert all(is_uuid(one) for one in ids)


async def test_a_sane_request_id_is_taken(house: Any) -> None:
    """From a proxy that has already logged it; errors carry it too."""
    answer = await house.get("/api/v1/auth/me", headers={"X-Request-ID": "trace-0123.AB_c"})

    assert (await error_of(answer))["request_id"] == "trace-0123.AB_c"


INSANE_IDS = ["short", "x" * 65, "a b c d e f", '{"a":"b"}xxxx', "<script>alert", "-leading-dash", "é" * 10]


async def test_any_other_request_id_is_replaced(house: Any) -> None:
    """It will be printed in places we do not know."""
    for given in INSANE_IDS:
        answer = await house.get("/healthz", headers={"X-Request-ID": given})

        assert is_uuid(answer.headers["X-Request-ID"]), given


async def test_the_log_line_of_a_request_has_its_id_and_no_secret(house: Any) -> None:
    """Route and status, but no path, query, token or address."""
    data = await house.sign_up()
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await house.get(
            "/api/v1/history/interactions?cursor=canary",
            data["access_token"],
            headers={"X-Request-ID": "trace-0123"},
        )

    [line] = [line for line in lines if line["event"] == "request"]
    assert line["request_id"] == "trace-0123"
    assert line["route"] == "/api/v1/history/interactions"
    assert (line["method"], line["status"]) == ("GET", 400)
    assert "canary" not in str(lines)
    assert data["access_token"] not in str(lines)
    assert "example.org" not in str(lines)


NO_OBJECTS = [
    b"",
    b"{",
    b"nonsense",
    b"\xff\xfe",
    b'{"email": "\xe9", "password": "x"}',
    b'{"email": "\\ud800", "password": "x"}',
    b"[]",
    b"null",
    b'"text"',
    b"{}{}",
    b'{"email": NaN}',
    b"[" * 20_000,
    b'{"email":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"a":1,}',
    b"\xef\xbb\xbf{}",
]


async def test_a_body_that_is_no_json_object_is_refused(house: Any) -> None:
    """Not UTF-8, too deep, cut off, or of another shape: each is the client's fault and nobody else's."""
    for body in NO_OBJECTS:
        answer = await send_raw(house, body)

        assert answer.status == 400, body
        assert (await error_of(answer))["code"] == "invalid_message"


OTHER_TYPES = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=latin-1",
    "",
    "x",
]


async def test_another_content_type_is_refused(house: Any) -> None:
    """A form of a foreign page can send only these."""
    for content_type in OTHER_TYPES:
        answer = await send_raw(house, b'{"email": "a", "password": "b"}', content_type)

        assert answer.status == 400, content_type
        assert (await error_of(answer))["code"] == "invalid_message"


JSON_TYPES = ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=utf-8"]


async def test_json_in_utf_8_is_read(house: Any) -> None:
    """However it is announced; here up to the wrong password."""
    for content_type in JSON_TYPES:
        answer = await send_raw(house, b'{"email": "a", "password": "b"}', content_type)

        assert answer.status == 401, content_type


async def test_a_body_over_64_kb_is_refused(house: Any) -> None:
    """Whether it says its length or not, or unpacks to it; 64 kB are read."""
    large = json.dumps({"email": "a", "password": "x" * 65_536}).encode()

    async def unannounced() -> Any:
        for start in range(0, len(large), 8_192):
            yield large[start : start + 8_192]

    said = await send_raw(house, large)
    unsaid = await house.client.post(LOGIN, data=unannounced(), headers={"Content-Type": "application/json"})
    bomb = await send_raw(house, gzip.compress(b"[" + b" " * 50_000_000), **{"Content-Encoding": "gzip"})
    fits = await send_raw(house, b'{"email": "a", "password": "b"}'.ljust(65_536))

    for answer in (said, unsaid, bomb):
        assert answer.status == 413
        assert (await error_of(answer))["code"] == "payload_too_large"
    assert fits.status == 401


async def test_a_body_that_does_not_come_is_not_waited_for(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that trickles holds a request for ten seconds at most."""
    monkeypatch.setattr("rest.validation.BODY_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.client.port)
    writer.write(
        f"POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode()
    )
    status_line = await asyncio.wait_for(reader.readline(), 30)
    writer.close()

    assert b" 400 " in status_line


async def test_a_missing_field_is_named(house: Any) -> None:
    """In the message and, for programs, in the details."""
    error = await error_of(await house.post(LOGIN, {"email": "a@b.co"}))

    assert error["details"] == {"field": "password"}
    assert error["message"].startswith("password")


async def test_unknown_fields_are_ignored_and_counted(house: Any) -> None:
    """So that old servers and new apps work together."""
    answer = await house.post(LOGIN, {"email": "a@b.co", "password": "b", "new_thing": 1, "other": 2})

    assert answer.status == 401
    assert house.counted("minuet_http_unknown_fields_total") == 2


async def test_unknown_fields_are_refused_in_development(open_house: Any) -> None:
    """So that typing errors are found; in a query too."""
    house = await open_house(settings=RestSettings(limits=Limits.off(), refuse_unknown_fields=True))
    body = await house.post(LOGIN, {"email": "a@b.co", "password": "b", "pasword": 1})
    token = (await house.sign_up())["access_token"]
    query = await house.get("/api/v1/history/interactions?limt=5", token)

    assert (await error_of(body))["details"] == {"field": "pasword"}
    assert (await error_of(query))["details"] == {"field": "limt"}


async def test_what_is_not_there_is_not_found(house: Any) -> None:
    """In the envelope, without an invitation to guess."""
    nothing = await house.get("/api/v1/nothing")
    wrong_method = await house.client.delete(LOGIN)

    assert nothing.status == 404
    assert (await error_of(nothing))["code"] == "not_found"
    assert wrong_method.status == 405
    assert wrong_method.headers["Allow"] == "POST"
    assert (await error_of(wrong_method))["code"] == "not_found"


async def test_a_fault_of_ours_is_logged_and_says_nothing(house: Any) -> None:
    """The traceback stays here; the client gets an id to report."""
    token = (await house.sign_up(Role.MODERATOR))["access_token"]
    house.watch.failure = KeyError("canary in the cause")
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        answer = await house.get("/api/v1/admin/presence", token, headers={"X-Request-ID": "trace-0123"})

    assert answer.status == 500
    error = await error_of(answer)
    assert error["code"] == "internal"
    assert "canary" not in await answer.text()
    [line] = [line for line in lines if line["event"] == "request_failed"]
    assert line["exc_info"]
    assert line["request_id"] == "trace-0123"


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (MinuetError("x", code=ErrorCode.BAD_STATE), 409, None),
        (MinuetError(code=ErrorCode.COOLDOWN, retry_after_ms=59_100), 429, "60"),
        (Unavailable(), 503, "1"),
        (Unavailable(retry_after_ms=4_000), 503, "4"),
        (MinuetError(), 500, None),
    ],
)
async def test_each_code_has_its_status(
    open_house: Any, error: MinuetError, status: int, retry_after: str | None
) -> None:
    """And says when to come back where that helps."""

    async def handler(request: web.Request) -> web.Response:
        raise error

    house = await open_house(
        extend=lambda app: declare(app, app.router.add_route("GET", "/fails", handler), Policy.PUBLIC)
    )
    answer = await house.get("/fails")

    assert answer.status == status
    assert answer.headers.get("Retry-After") == retry_after
    body = await error_of(answer)
    assert body["code"] == error.code.value
    if retry_after:
        assert body["details"]["retry_after_ms"] > 0


async def test_a_redirect_of_a_page_stays_one(open_house: Any) -> None:
    """Pages live in the same app."""

    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    house = await open_house(
        extend=lambda app: declare(app, app.router.add_route("GET", "/moved", handler), Policy.PUBLIC)
    )
    answer = await house.get("/moved", allow_redirects=False)

    assert answer.status == 302
    assert answer.headers["Location"] == "/elsewhere"


async def test_answers_of_the_api_have_safe_headers(house: Any) -> None:
    """Nothing in them may run, be framed, guessed or kept."""
    answer = await house.get("/api/v1/nothing")

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_a_page_may_do_what_it_says(open_house: Any) -> None:
    """Ours by default; its own header where it sets one."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<p>", content_type="text/html")

    async def special(request: web.Request) -> web.Response:
        return web.Response(
            text="<p>", content_type="text/html", headers={"Content-Security-Policy": "default-src 'none'"}
        )

    def extend(app: web.Application) -> None:
        declare(app, app.router.add_route("GET", "/page", page), Policy.PUBLIC)
        declare(app, app.router.add_route("GET", "/special", special), Policy.PUBLIC)

    house = await open_house(extend=extend)
    ordinary = (await house.get("/page")).headers

    assert "frame-ancestors 'none'" in ordinary["Content-Security-Policy"]
    assert "unsafe" not in ordinary["Content-Security-Policy"]
    assert ordinary["Permissions-Policy"].startswith("microphone=(self), camera=(self)")
    assert (await house.get("/special")).headers["Content-Security-Policy"] == "default-src 'none'"


async def test_requests_are_counted_by_route_not_by_path(house: Any) -> None:
    """Labels must not grow with what clients make up."""
    token = (await house.sign_up())["access_token"]
    for number in range(3):
        await house.post(
            f"/api/v1/interactions/0192f0c1-2345-7abc-8def-01234567890{number}/connect", token=token
        )
        await house.get(f"/made/up/{number}")
    await house.client.request("PROPFIND", "/healthz")

    route = "/api/v1/interactions/{call_id}/connect"
    assert house.counted("minuet_http_requests_total", route=route, method="POST", status="200") == 3
    assert house.counted("minuet_http_requests_total", route="unmatched", method="GET", status="404") == 3
    assert house.counted("minuet_http_requests_total", route="unmatched", method="OTHER", status="405") == 1
    assert house.counted("minuet_http_request_seconds_count", route=route) == 3


async def test_the_api_describes_itself(house: Any) -> None:
    """OpenAPI, with every route that is served."""
    described = await (await house.get("/api/v1/openapi.json")).json()
    served = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}

    routes = {
        (route.method, route.resource.canonical)
        for route in house.client.app.router.routes()
        if re.match(r"/api/v1/(?!openapi)", route.resource.canonical)
    }
    assert served == routes
