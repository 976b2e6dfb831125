"""Rate limits over HTTP: tiers, headers, addresses behind proxies, and what happens without Redis."""

import time
from dataclasses import replace
from typing import Any

import pytest

from accounts.model import Role
from minuet.embedded import EmbeddedValkey
from rest.client_address import TrustedProxies
from rest.settings import Limits, Rate, RestSettings

ME = "/api/v1/auth/me"
LOGIN = "/api/v1/auth/login"


def only(trusted: tuple[str, ...] = (), **rates: Rate) -> RestSettings:
    """Settings in which only the named limits are on."""
    return RestSettings(limits=replace(Limits.off(), **rates), trusted_proxies=TrustedProxies.parse(trusted))


async def test_a_limit_tells_its_state_and_then_when_to_come_back(open_house: Any) -> None:
    """In the headers of every answer, also of the refusal."""
    house = await open_house(settings=only(user=Rate(3, 3_000)))
    token = (await house.sign_up())["access_token"]
    answers = [await house.get(ME, token) for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"3"}
    assert abs(int(answers[3].headers["X-RateLimit-Reset"]) - time.time() - 3_000) < 60
    assert 900 <= int(answers[3].headers["Retry-After"]) <= 1_000
    error = (await answers[3].json())["error"]
    assert error["code"] == "rate_limited"
    assert 900_000 < error["details"]["retry_after_ms"] <= 1_000_000
    assert house.counted("minuet_rate_limited_total", tier="user") == 1


async def test_each_role_has_its_own_tier(open_house: Any) -> None:
    """By the numbers of the defaults: 100, 200, none."""
    house = await open_house(settings=RestSettings(limits=replace(Limits(), register=None, login=None)))
    limits = {}
    for role in Role:
        answer = await house.get("/api/v1/profile", (await house.sign_up(role))["access_token"])
        limits[role] = answer.headers.get("X-RateLimit-Limit")

    assert limits == {Role.USER: "100", Role.MODERATOR: "200", Role.ADMIN: None, Role.SERVICE: None}


async def test_signing_in_has_stricter_limits_by_address(open_house: Any) -> None:
    """Each of the three with a bucket of its own."""
    house = await open_house(settings=RestSettings())
    seen = {}
    for path in ("register", "login", "refresh"):
        answer = await house.post(f"/api/v1/auth/{path}", {})
        seen[path] = (
            answer.status,
            answer.headers["X-RateLimit-Limit"],
            answer.headers["X-RateLimit-Remaining"],
        )

    assert seen == {"register": (400, "5", "4"), "login": (400, "10", "9"), "refresh": (400, "10", "9")}


async def test_one_user_does_not_use_up_anothers_limit(open_house: Any) -> None:
    """Though they come from one address."""
    house = await open_house(settings=only(user=Rate(1)))
    first, second = [(await house.sign_up())["access_token"] for _ in range(2)]
    await house.get(ME, first)

    assert (await house.get(ME, first)).status == 429
    assert (await house.get(ME, second)).status == 200


async def test_trying_tokens_uses_up_the_address(open_house: Any) -> None:
    """Invalid ones, not expired ones: many phones behind one address wake up with those."""
    house = await open_house(settings=only(none=Rate(2)))
    data = await house.sign_up()
    user = await house.store.user(data["user"]["id"])
    now_ms = house.services.ids.now_ms()
    family = house.services.authenticator.verify(data["access_token"], now_ms).family_id
    expired = house.services.accounts._issuer.issue(user, family, "x", now_ms - 3_600_000).token
    codes = [(await (await house.get(ME, expired)).json())["error"]["code"] for _ in range(4)]
    statuses = [(await house.get(ME, f"forged-{number}")).status for number in range(4)]

    assert set(codes) == {"token_expired"}
    assert statuses == [401, 401, 429, 429]
    assert (await house.get(ME, data["access_token"])).status == 200


async def test_a_forbidden_route_is_paid_for_too(open_house: Any) -> None:
    """Looking for open doors is a request like any other."""
    house = await open_house(settings=only(user=Rate(1)))
    token = (await house.sign_up())["access_token"]

    assert (await house.get("/api/v1/admin/presence", token)).status == 403
    assert (await house.get("/api/v1/admin/presence", token)).status == 429


async def test_without_trusted_proxies_a_header_changes_nothing(open_house: Any) -> None:
    """Else every request would come from a new address."""
    house = await open_house(settings=only(login=Rate(2)))
    statuses = [
        (await house.post(LOGIN, {}, headers={"X-Forwarded-For": f"192.0.2.{number}"})).status
        for number in range(4)
    ]

    assert statuses == [400, 400, 429, 429]


async def test_behind_a_trusted_proxy_each_client_has_its_own_limit(open_house: Any) -> None:
    """By the address that the proxy saw, not by what the client wrote before it."""
    house = await open_house(settings=only(("127.0.0.0/8", "::1/128"), login=Rate(1)))

    async def ask(forwarded_for: str) -> int:
        answer = await house.post(LOGIN, {}, headers={"X-Forwarded-For": forwarded_for})
        status: int = answer.status
        return status

    assert [await ask("192.0.2.1"), await ask("192.0.2.2")] == [400, 400]
    assert [await ask("192.0.2.1"), await ask("198.51.100.9, 192.0.2.2")] == [429, 429]
    assert [await ask("2001:db8::1"), await ask("2001:db8::2"), await ask("2001:db8:1::1")] == [400, 429, 400]


@pytest.mark.parametrize("fate", ["killed", "silent"])
async def test_without_redis_limits_let_pass_and_accounts_do_not(
    open_house: Any, private_valkey: EmbeddedValkey, fate: str
) -> None:
    """Limits fail open. Guessing passwords, and tokens that may have been taken back, fail closed, in bounded time."""
    house = await open_house(settings=RestSettings(), redis_url=private_valkey.url, patience_s=1.0)
    data = await house.sign_up()
    if fate == "killed":
        await private_valkey.kill()
    else:
        private_valkey.pause()
    began = time.monotonic()
    refresh = await house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]})
    login = await house.post(LOGIN, {"email": data["user"]["email"], "password": "correct horse battery"})
    me = await house.get(ME, data["access_token"])
    reused = await house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]})
    took_s = time.monotonic() - began
    private_valkey.resume()

    assert refresh.status == 200
    assert reused.status == 401  # the family is revoked, though the hubs cannot be told
    for answer in (login, me):
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "unavailable"
        assert int(answer.headers["Retry-After"]) >= 1
    assert took_s < 30
    assert house.counted("minuet_rate_limiter_away_total") == 4
    assert "X-RateLimit-Limit" not in refresh.headers


async def test_limits_hold_again_once_redis_is_back(open_house: Any, private_valkey: EmbeddedValkey) -> None:
    """Within about a second."""
    house = await open_house(settings=only(login=Rate(1)), redis_url=private_valkey.url, patience_s=1.0)
    await private_valkey.kill()
    assert [(await house.post(LOGIN, {})).status for _ in range(3)] == [400] * 3
    await private_valkey.start()
    give_up_at = time.monotonic() + 30
    while (await house.post(LOGIN, {})).status != 429:
        assert time.monotonic() < give_up_at


@pytest.mark.parametrize("values", [(0, 60), (-1, 60), (10, 0), (10, -1)])
def test_a_limit_that_lets_nobody_in_is_a_mistake(values: tuple[int, float]) -> None:
    """No limit is written as None."""
    with pytest.raises(ValueError, match="capacity"):
        Rate(*values)
