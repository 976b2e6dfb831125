"""Which handshakes are let in, and how the others are refused."""

import hashlib
from base64 import b64encode

import orjson
import pytest

from signaling.handshake import JSON, MSGPACK, UpgradeSettings, normalised_origin
from signaling.upgrade import Admission
from tests.integration.edge.edge_server import Edge, RawClient, always, handshake, running_edge


async def answer(edge: Edge, request: bytes) -> tuple[int, str, dict[str, object] | None]:
    """Status, head, and the error of the envelope where there is one."""
    client = await RawClient.dial(edge)
    client.send(request)
    status, head = await client.response()
    if status == 101:
        await client.hang_up()
        return status, head, None
    envelope = orjson.loads(await client.rest())  # to the end: the server closes after a refusal
    client.writer.close()
    assert "content-type: application/json" in head.lower()
    assert envelope.keys() == {"success", "error"}
    assert envelope["success"] is False
    assert envelope["error"].keys() == {"code", "message", "details", "request_id"}
    return status, head, envelope["error"]


async def test_the_accept_key_is_that_of_the_rfc(edge: Edge) -> None:
    """The example of RFC 6455, 1.3."""
    status, head, _ = await answer(edge, handshake(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=="))

    assert status == 101
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    digest = hashlib.sha1(b"dGhlIHNhbXBsZSBub25jZQ==" + guid, usedforsecurity=False).digest()
    assert b64encode(digest) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Upgrade": "WebSocket", "Connection": "upgrade"}, id="other case"),
        pytest.param({"Connection": "keep-alive, Upgrade"}, id="Firefox's Connection"),
        pytest.param(
            {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}, id="extensions"
        ),
        pytest.param({"Cookie": "a=b", "X_Unknown": "c"}, id="other headers"),
    ],
)
async def test_correct_handshakes_of_all_kinds_are_let_in(edge: Edge, changes: dict[str, str]) -> None:
    """What browsers and proxies make of the headers; extensions are offered in vain."""
    status, head, _ = await answer(edge, handshake(**changes))

    assert status == 101
    assert "extensions" not in head.lower()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Upgrade": None, "Connection": None}, id="a plain GET"),
        pytest.param({"Upgrade": None}, id="no Upgrade"),
        pytest.param({"Upgrade": "h2c"}, id="another protocol"),
        pytest.param({"Connection": "close"}, id="Connection without upgrade"),
        pytest.param({"Sec_WebSocket_Version": None}, id="no version"),
        pytest.param({"Sec_WebSocket_Version": "8"}, id="an old version"),
        pytest.param({"Sec_WebSocket_Version": "13, 8"}, id="two versions"),
        pytest.param({"Sec_WebSocket_Key": None}, id="no key"),
        pytest.param({"Sec_WebSocket_Key": ""}, id="an empty key"),
        pytest.param({"Sec_WebSocket_Key": "c2hvcnQ="}, id="a short key"),
        pytest.param({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ"}, id="a key without padding"),
        pytest.param({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==\u00e9"}, id="a key beyond ASCII"),
        pytest.param({"Sec_WebSocket_Key": "*" * 24}, id="a key that is not base64"),
        pytest.param(
            {"Content_Length": "0", "Transfer_Encoding": None, "Upgrade": "foo/1, websocketx"}, id="alike"
        ),
        pytest.param({"Content_Length": "5"}, id="a body"),
        pytest.param({"Transfer_Encoding": "chunked"}, id="a chunked body"),
    ],
)
async def test_a_bad_handshake_is_a_typed_400(edge: Edge, changes: dict[str, str | None]) -> None:
    """`invalid_message`, in the envelope of the REST side, and no connection."""
    body = (
        b"hello" if "Content_Length" in changes else b"0\r\n\r\n" if "Transfer_Encoding" in changes else b""
    )
    status, head, error = await answer(edge, handshake(**changes) + body)

    assert status == 400
    assert error is not None
    assert error["code"] == "invalid_message"
    assert error["message"]
    assert ("sec-websocket-version: 13" in head.lower()) == ("Sec_WebSocket_Version" in changes)
    assert edge.listeners == []


async def test_http_1_0_is_refused(edge: Edge) -> None:
    """An upgrade needs HTTP/1.1."""
    status, _, error = await answer(edge, handshake().replace(b"HTTP/1.1", b"HTTP/1.0", 1))

    assert status == 400
    assert error is not None


async def test_a_doubled_key_is_refused(edge: Edge) -> None:
    """A proxy and we might each take another one."""
    doubled = handshake().replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    client = await RawClient.dial(edge)
    client.send(doubled)

    assert (await client.response())[0] == 400
    await client.hang_up()


@pytest.mark.parametrize(
    ("offer", "spoken"),
    [
        ("minuet.v1.json", JSON),
        ("minuet.v1.msgpack", MSGPACK),
        ("minuet.v1.msgpack, minuet.v1.json", MSGPACK),
        ("minuet.v1.json,minuet.v1.msgpack", JSON),
        ("chat, minuet.v2.json ,minuet.v1.msgpack", MSGPACK),
        ("minuet.v1.json\r\nSec-WebSocket-Protocol: minuet.v1.msgpack", JSON),
        ("chat\r\nSec-WebSocket-Protocol: minuet.v1.msgpack", MSGPACK),
        (None, None),
        ("", None),
        (",", None),
        ("chat", None),
        ("minuet.v1", None),
        ("minuet.v2.json", None),
        ("minuet.v1.json.evil", None),
        ("MINUET.V1.JSON", None),
        ("minuet.v1.json;q=1", None),
    ],
)
async def test_the_clients_first_subprotocol_that_we_speak_is_spoken(
    edge: Edge, offer: str | None, spoken: str | None
) -> None:
    """In the client's order; exact names; without one in common a 400, never a silent default."""
    status, head, error = await answer(edge, handshake(Sec_WebSocket_Protocol=offer))

    if spoken is None:
        assert (status, error and error["code"]) == (400, "invalid_message")
        assert edge.listeners == []
    else:
        assert status == 101
        assert head.count("Sec-WebSocket-Protocol") == 1
        assert f"Sec-WebSocket-Protocol: {spoken}\r\n" in head
        assert (await edge.listener()).info.subprotocol == spoken
        assert (await edge.listener()).connection.binary == (spoken == MSGPACK)


ALLOWED = frozenset(
    {
        "https://app.example",
        "https://app.example:8443",
        "http://localhost:8080",
        "capacitor://localhost",
        "http://[::1]",
    }
)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example",
        "https://APP.Example",
        "HTTPS://app.example",
        "https://app.example:443",
        "https://app.example:8443",
        "http://localhost:8080",
        "capacitor://localhost",
        "http://[::1]",
        "http://[::1]:80",
    ],
)
async def test_pages_of_listed_origins_may_connect(origin: str) -> None:
    """Scheme, host and port are compared; the case of the host and the default port say nothing."""
    async with running_edge(settings=UpgradeSettings(allowed_origins=ALLOWED)) as edge:
        assert (await answer(edge, handshake(Origin=origin)))[0] == 101
        assert (await edge.listener()).info.origin == origin


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "NULL",
        "",
        "*",
        "http://app.example",
        "wss://app.example",
        "https://app.example:80",
        "https://app.example:8444",
        "https://app.example:08443",
        "https://app.example:",
        "http://localhost",
        "http://localhost:80800",
        "https://app.example.evil.example",
        "https://evilapp.example",
        "https://evil.app.example",
        "https://app.example.",
        "https://app.exampl",
        "https://app-example",
        "https://app.example/",
        "https://app.example/path",
        "https://app.example?x",
        "https://app.example#https://app.example",
        "https://evil.example#https://app.example",
        "https://evil.example/https://app.example",
        "https://evil.example?https://app.example",
        "https://app.example@evil.example",
        "https://evil.example\\@app.example",
        "https://user@app.example",
        "https://user:pass@app.example",
        "https://app.example:8443@evil.example",
        "https://app.example%2eevil.example",
        "https://app.example%00.evil.example",
        "https:app.example",
        "https:///app.example",
        "https:\\\\app.example",
        "//app.example",
        "app.example",
        "https://app.example https://evil.example",
        "https://app.example, https://evil.example",
        "https://\u0430pp.example",
        "https://[::1]",
        "http://[::1]:8080",
        "http://::1",
        "http://[0:0:0:0:0:0:0:1]",
        "https://app.example\r\nOrigin: https://evil.example",
        "https://evil.example\r\nOrigin: https://app.example",
        "https://app.example\r\nOrigin: https://app.example",
    ],
)
async def test_pages_of_other_origins_may_not(origin: str) -> None:
    """403 for what is near, alike, around or inside a listed origin; also for two of them."""
    async with running_edge(settings=UpgradeSettings(allowed_origins=ALLOWED)) as edge:
        client = await RawClient.dial(edge)
        client.send(handshake(Origin=origin))
        status, _ = await client.response()
        body = await client.rest()
        client.writer.close()

        assert edge.listeners == []
        if origin.count("Origin:") and status == 400:
            return  # an aiohttp that does not even take two of them
        assert status == 403
        assert orjson.loads(body)["error"]["code"] == "forbidden"


async def test_a_client_without_an_origin_is_no_browser(edge: Edge) -> None:
    """Apps and servers send none; the token decides on them."""
    assert (await answer(edge, handshake()))[0] == 101
    assert (await edge.listener()).info.origin is None


async def test_null_may_be_listed_and_a_star_lets_all_in() -> None:
    """For pages from files, and for development."""
    async with running_edge(settings=UpgradeSettings(allowed_origins=frozenset({"null"}))) as edge:
        assert (await answer(edge, handshake(Origin="null")))[0] == 101
        assert (await answer(edge, handshake(Origin="https://app.example")))[0] == 403
    async with running_edge(settings=UpgradeSettings(allowed_origins="*")) as edge:
        assert (await answer(edge, handshake(Origin="https://anything.example")))[0] == 101
        assert (await answer(edge, handshake(Origin="null")))[0] == 101


@pytest.mark.parametrize("origin", ["https://app.example/", "app.example", "https://*.example", "", "*"])
def test_a_setting_that_is_no_origin_is_an_error(origin: str) -> None:
    """A pattern that would never match is found at the start, not by users."""
    with pytest.raises(ValueError, match="not an origin"):
        UpgradeSettings(allowed_origins=frozenset({origin}))


def test_origins_in_settings_are_normalised() -> None:
    """What the operator wrote is compared in the same form."""
    settings = UpgradeSettings(allowed_origins=frozenset({"HTTPS://App.Example:443"}))

    assert settings.allowed_origins == frozenset({"https://app.example"})
    assert settings.allows("https://app.example")
    assert normalised_origin("https://app.example:8443") == "https://app.example:8443"


@pytest.mark.parametrize(
    ("retry_after_s", "header"), [(0.0, "1"), (0.3, "1"), (1.0, "1"), (2.5, "3"), (30.0, "30")]
)
async def test_a_closed_gate_is_a_503_with_retry_after(retry_after_s: float, header: str) -> None:
    """The node takes no more for the moment: `unavailable`, in whole seconds, at least one."""
    admission = Admission(address_limit=always, accept_gate=lambda: retry_after_s)
    async with running_edge(admission=admission) as edge:
        status, head, error = await answer(edge, handshake())

        assert (status, error and error["code"]) == (503, "unavailable")
        assert f"Retry-After: {header}\r\n" in head
        assert edge.listeners == []


async def test_an_address_over_its_limit_is_a_429_with_retry_after() -> None:
    """`rate_limited`, by the client's address; each attempt counts, bad ones too, and the gate is not asked."""
    seen: list[str] = []
    asked: list[str] = []

    def gate() -> None:
        asked.append("gate")

    def third_time(address: str) -> float | None:
        seen.append(address)
        return None if len(seen) < 3 else 0.7

    async with running_edge(admission=Admission(address_limit=third_time, accept_gate=gate)) as edge:
        assert (await answer(edge, handshake()))[0] == 101
        assert (await answer(edge, handshake(Sec_WebSocket_Key=None)))[0] == 400
        status, head, error = await answer(edge, handshake())

        assert (status, error and error["code"]) == (429, "rate_limited")
        assert "Retry-After: 1\r\n" in head
        assert seen == ["127.0.0.1"] * 3
        assert asked == ["gate"]


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc.def.ghi", "abc.def.ghi"),
        ("bearer  abc", "abc"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        (None, None),
    ],
)
async def test_a_mobile_client_may_bring_its_token(
    edge: Edge, authorization: str | None, token: str | None
) -> None:
    """The listener gets the token, address and user agent; the token is in no representation."""
    await answer(edge, handshake(Authorization=authorization, User_Agent="Minuet/1.0 " + "x" * 500))
    info = (await edge.listener()).info

    assert info.bearer_token == token
    assert info.remote == "127.0.0.1"
    assert info.user_agent.startswith("Minuet/1.0 ")
    assert len(info.user_agent) == 256
    assert "abc" not in repr(info)


async def test_headers_that_are_not_text_can_be_logged() -> None:
    """Bytes beyond UTF-8 come through as question marks: they must not break the log or the check of a token."""
    async with running_edge(settings=UpgradeSettings(allowed_origins="*")) as edge:
        request = handshake(User_Agent="UA", Authorization="Bearer TOKEN", Origin="ORIGIN")
        for word in (b"UA", b"TOKEN", b"ORIGIN"):
            request = request.replace(word, b"a\xff\xfeb")
        assert (await answer(edge, request))[0] == 101
        info = (await edge.listener()).info

        assert (info.user_agent, info.bearer_token, info.origin) == ("a??b", "a??b", "a??b")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_only_get_is_a_handshake(edge: Edge, method: str) -> None:
    """HEAD, which aiohttp routes like GET, would get a socket that the RFC does not know."""
    client = await RawClient.dial(edge)
    client.send(handshake().replace(b"GET", method.encode(), 1))
    status, _ = await client.response()

    assert status == (400 if method == "HEAD" else 405)
    assert edge.listeners == []
    await client.hang_up()
