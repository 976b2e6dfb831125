"""Who may use which route: every route times every kind of caller, generated from the routes themselves."""

import re
from typing import Any

import pytest
from aiohttp import web

from accounts.model import Role
from rest.app import ENDPOINTS, build_app
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.policies import ALLOWED, Policy, RouteWithoutPolicy, declare, declare_resource
from rest.services import RestServices

CALL_ID = "0192f0c1-2345-7abc-8def-0123456789ab"
PARAMETER = re.compile(r"\{\w+\}")
CALLERS = [None, *Role]


def path_of(endpoint: Endpoint) -> str:
    """The path of something that there is not, whatever its parameters name."""
    return PARAMETER.sub(CALL_ID, endpoint.path)


def expected(policy: Policy, role: Role | None) -> set[tuple[int, str]]:
    """What a caller may be answered: the policy's refusal, or anything else once let in. Status and error code."""
    allowed = ALLOWED[policy]
    if allowed is None:
        # The handler's own: e.g. an empty body, a wrong password.
        return {(200, ""), (201, ""), (400, "invalid_message"), (401, "unauthenticated")}
    if role is None:
        return {(401, "unauthenticated")}
    if role not in allowed:
        return {(403, "forbidden")}
    no_such_thing = {(404, "not_a_participant"), (404, "not_found"), (403, "not_connected")}
    return {(200, ""), (201, ""), (400, "invalid_message"), *no_such_thing}


@pytest.mark.parametrize("role", CALLERS, ids=lambda role: role.value if role else "anonymous")
async def test_every_route_is_open_to_whom_its_policy_names(house: Any, role: Role | None) -> None:
    """And to nobody else; the refusal is in the envelope."""
    token = ""
    for endpoint in ENDPOINTS:
        if role is not None and not token:
            token = (await house.sign_up(role))["access_token"]
        answer = await house.client.request(
            endpoint.method,
            path_of(endpoint),
            json={},
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        body = await answer.json()

        if "logout" in endpoint.path:
            token = ""  # void now
        code = body.get("error", {}).get("code", "")
        assert (answer.status, code) in expected(endpoint.policy, role), (endpoint.name, body)
        assert body["success"] is (answer.status < 400)
        if answer.status == 401 and endpoint.policy is not Policy.PUBLIC:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_all_roles_and_policies_are_in_the_matrix() -> None:
    """The test above must not lose one that is added."""
    assert set(ALLOWED) == set(Policy)
    assert {endpoint.policy for endpoint in ENDPOINTS} >= {Policy.PUBLIC, Policy.USER, Policy.MODERATOR}
    assert set(CALLERS) == {None, *Role}


async def test_an_app_with_a_route_nobody_declared_does_not_start(house: Any) -> None:
    """Added by hand and forgotten: found at start, not by an attacker."""
    app = build_app(house.services)
    app.router.add_get("/forgotten/{id}", _hello)

    with pytest.raises(RouteWithoutPolicy, match=r"GET /forgotten/\{id\}"):
        await web.AppRunner(app).setup()


async def test_a_declared_route_beside_the_api_works(open_house: Any, tmp_path: Any) -> None:
    """The socket's route and the pages are added like this."""
    (tmp_path / "page.html").write_text("<h1>Hi</h1>")

    def extend(app: web.Application) -> None:
        declare(app, app.router.add_route("GET", "/hello", _hello), Policy.PUBLIC)
        declare_resource(app, app.router.add_static("/pages", tmp_path), Policy.PUBLIC)

    house = await open_house(extend=extend)

    assert (await house.get("/hello")).status == 200
    page = await house.get("/pages/page.html")
    assert page.status == 200
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")


async def test_every_endpoint_of_every_policy_is_held_to_it(open_house: Any, house: Any) -> None:
    """Also of policies that no route has yet: a build with one endpoint for each."""

    async def handler(services: RestServices, exchange: Exchange) -> Reply:
        return Reply({})

    endpoints = [
        Endpoint(
            method="GET",
            path=f"{API}/try/{policy}",
            name=policy.value,
            summary="",
            policy=policy,
            handler=handler,
            returns=dict[str, Any],
        )
        for policy in Policy
    ]
    tokens = {role: (await house.sign_up(role))["access_token"] for role in Role}
    app = build_app(house.services, endpoints)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    let_in = {
        (policy, role)
        for policy in Policy
        for role in Role
        if (
            await house.client.session.get(
                f"http://127.0.0.1:{port}{API}/try/{policy}",
                headers={"Authorization": f"Bearer {tokens[role]}"},
            )
        ).status
        == 200
    }
    await runner.cleanup()

    assert let_in == {
        *((Policy.PUBLIC, role) for role in Role),
        (Policy.USER, Role.USER),
        (Policy.USER, Role.MODERATOR),
        (Policy.USER, Role.ADMIN),
        (Policy.MODERATOR, Role.MODERATOR),
        (Policy.MODERATOR, Role.ADMIN),
        (Policy.ADMIN, Role.ADMIN),
        (Policy.SERVICE, Role.SERVICE),
    }


NO_TOKENS = [
    "",
    "Bearer",
    "Bearer ",
    "Basic YWRhOnB3",
    "Token {token}",
    "{token}",
    "Bearer {token} x",
    "Bearer {token},",
    "Bearer {token}x",
    "Bearer x{token}",
]


async def test_only_a_whole_bearer_token_counts(house: Any) -> None:
    """Nothing is guessed from what looks like one."""
    token = (await house.sign_up())["access_token"]
    for authorization in NO_TOKENS:
        answer = await house.get(
            "/api/v1/auth/me", headers={"Authorization": authorization.replace("{token}", token)}
        )

        assert answer.status == 401, authorization


async def test_the_scheme_may_be_written_in_any_case(house: Any) -> None:
    """As HTTP has it."""
    token = (await house.sign_up())["access_token"]

    assert (await house.get("/api/v1/auth/me", headers={"Authorization": f"bEARER {token}"})).status == 200


async def test_two_tokens_are_none(house: Any) -> None:
    """A proxy and a server might pick different ones."""
    token = (await house.sign_up())["access_token"]
    answer = await house.client.get(
        "/api/v1/auth/me", headers=[("Authorization", f"Bearer {token}"), ("Authorization", "Bearer x")]
    )

    assert answer.status == 401


async def test_a_token_in_the_url_is_none(house: Any) -> None:
    """URLs end up in logs."""
    token = (await house.sign_up())["access_token"]

    assert (await house.get(f"/api/v1/auth/me?access_token={token}&token={token}")).status == 401


async def test_an_expired_token_is_told_apart(house: Any) -> None:
    """So that the client refreshes instead of signing in again."""
    data = await house.sign_up()
    user = await house.store.user(data["user"]["id"])
    issuer = house.services.accounts._issuer
    family = house.services.authenticator.verify(data["access_token"], house.services.ids.now_ms()).family_id
    old = issuer.issue(user, family, "one", house.services.ids.now_ms() - 3_600_000)

    answer = await house.get("/api/v1/auth/me", old.token)

    assert answer.status == 401
    assert (await answer.json())["error"]["code"] == "token_expired"


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")
