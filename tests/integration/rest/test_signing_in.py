"""Getting in and out over REST, on real servers."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest
from argon2 import PasswordHasher
from prometheus_client import generate_latest
from redis.asyncio import Redis

from accounts.model import Role
from base.errors import Unavailable

SIGNED_IN = {"user", "access_token", "refresh_token", "expires_at", "refresh_expires_at", "token_type"}
PASSWORD = "correct horse battery"


def credentials(data: dict[str, Any], password: str = PASSWORD) -> dict[str, str]:
    return {"email": data["user"]["email"], "password": password}


async def code_of(answer: Any) -> str:
    body = await answer.json()
    assert body["success"] is False
    code: str = body["error"]["code"]
    return code


async def test_registering_signs_in(house: Any) -> None:
    """The answer has the account and tokens that work, with their ends in milliseconds."""
    body = {
        "email": "Ada@Example.org",
        "password": PASSWORD,
        "first_name": "Ada",
        "gender": "female",
        "birth_date": "1990-05-17",
        "languages": ["en-GB", "pt"],
        "region": "eu",
        "locale": "en-GB",
        "terms_version": "1",
        "privacy_version": "2",
    }
    answer = await house.post("/api/v1/auth/register", body)
    data = (await answer.json())["data"]
    me = await house.get("/api/v1/auth/me", data["access_token"])

    assert answer.status == 201
    assert set(data) == SIGNED_IN
    user = data["user"]
    assert user["email"] == "Ada@example.org"
    assert user["languages"] == ["en", "pt"]
    assert (user["gender"], user["birth_date"], user["role"]) == ("female", "1990-05-17", "user")
    assert 14 * 60 < data["expires_at"] / 1000 - time.time() <= 15 * 60
    assert 29 * 86_400 < data["refresh_expires_at"] / 1000 - time.time() <= 30 * 86_400
    assert (await me.json())["data"]["user"] == user


UNFIT_FIELDS = [
    ("birth_date", "2015-01-01"),
    ("birth_date", "not a date"),
    ("password", "password123"),
    ("password", "short"),
    ("email", "ada"),
    ("gender", "robot"),
    ("first_name", ""),
    ("languages", ["english!"]),
    ("languages", ["en"] * 33),
    ("region", "no such region!"),
    ("device_id", "a b"),
]


async def test_a_field_that_does_not_fit_is_named(house: Any) -> None:
    """And nobody is registered."""
    body = {
        "email": "ada@example.org",
        "password": PASSWORD,
        "first_name": "Ada",
        "gender": "female",
        "birth_date": "1990-05-17",
    }
    for field, value in UNFIT_FIELDS:
        answer = await house.post("/api/v1/auth/register", body | {field: value})

        assert answer.status == 400, field
        error = (await answer.json())["error"]
        assert error["code"] == "invalid_message"
        assert error["details"]["field"] == field
        assert await house.store.credentials("ada@example.org") is None


async def test_an_address_registers_once(house: Any) -> None:
    """Also in other letters."""
    data = await house.sign_up(email="ada@example.org")
    again = await house.post(
        "/api/v1/auth/register",
        {
            "email": "ADA@example.org",
            "password": "another long password",
            "first_name": "Eve",
            "gender": "female",
            "birth_date": "1990-05-17",
        },
    )

    assert again.status == 409
    assert await code_of(again) == "conflict"
    login = await house.post("/api/v1/auth/login", credentials(data))
    assert (await login.json())["data"]["user"] == data["user"]


async def test_signing_in_gives_new_tokens(house: Any) -> None:
    """Two devices, two sign-ins that know nothing of each other."""
    data = await house.sign_up()
    answer = await house.post("/api/v1/auth/login", credentials(data) | {"device_id": "phone"})
    second = (await answer.json())["data"]

    assert answer.status == 200
    assert set(second) == SIGNED_IN
    assert second["refresh_token"] != data["refresh_token"]
    await house.post("/api/v1/auth/logout", token=second["access_token"])
    assert (await house.get("/api/v1/auth/me", data["access_token"])).status == 200


async def test_whether_there_is_an_account_is_not_told(house: Any) -> None:
    """Wrong password and unknown address: the same words after the same work."""
    data = await house.sign_up()
    wrong = await house.post("/api/v1/auth/login", credentials(data, "not the password"))
    hashed_for_wrong = house.counted("minuet_password_hash_seconds_count")
    unknown = await house.post(
        "/api/v1/auth/login", {"email": "no@example.org", "password": "not the password"}
    )
    hashed_for_unknown = house.counted("minuet_password_hash_seconds_count") - hashed_for_wrong

    first, second = (await wrong.json())["error"], (await unknown.json())["error"]
    assert wrong.status == unknown.status == 401
    assert first.pop("request_id") != second.pop("request_id")
    assert first == second
    assert set(wrong.headers) == set(unknown.headers)
    assert hashed_for_unknown == 1


NO_ADDRESSES = ["", "not an address", "a\x00b@example.org", "x" * 1_000, "' OR 1=1 --@x.org"]


async def test_an_address_that_is_none_is_an_address_of_nobody(house: Any) -> None:
    """Login does not validate: it just finds nobody."""
    for email in NO_ADDRESSES:
        answer = await house.post("/api/v1/auth/login", {"email": email, "password": "x"})

        assert answer.status == 401, email


async def test_guessing_is_slowed_down(house: Any) -> None:
    """The sixth attempt in a row has to wait, even with the right password; others need not."""
    data = await house.sign_up()
    for _ in range(5):
        for _ in range(5):
            answer = await house.post("/api/v1/auth/login", credentials(data, "wrong guess"))
            assert answer.status == 401
        early = await house.post("/api/v1/auth/login", credentials(data))
        # On a machine so slow that the wait is over before this comes, all is forgiven, and they begin anew.
        if early.status != 200:
            break
    other = await house.sign_up()
    unaffected = await house.post("/api/v1/auth/login", credentials(other))

    assert early.status == 429
    assert await code_of(early) == "rate_limited"
    assert early.headers["Retry-After"] == "1"
    assert unaffected.status == 200
    await asyncio.sleep(1.05)
    assert (await house.post("/api/v1/auth/login", credentials(data))).status == 200


async def test_guesses_at_once_are_counted_each(house: Any) -> None:
    """Twenty in one moment: five are looked at."""
    data = await house.sign_up()
    answers = await asyncio.gather(
        *(house.post("/api/v1/auth/login", credentials(data, f"guess {number}")) for number in range(20))
    )

    assert sorted(answer.status for answer in answers) == [401] * 5 + [429] * 15


async def test_a_refresh_token_is_good_once(house: Any) -> None:
    """The second use of it ends the sign-in: the newest refresh token and the access tokens too."""
    data = await house.sign_up()
    first = await house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]})
    renewed = (await first.json())["data"]
    assert (await house.get("/api/v1/auth/me", renewed["access_token"])).status == 200

    reused = await house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]})

    assert set(renewed) == SIGNED_IN
    assert reused.status == 401
    newest = await house.post("/api/v1/auth/refresh", {"refresh_token": renewed["refresh_token"]})
    assert newest.status == 401
    for token in (data["access_token"], renewed["access_token"]):
        me = await house.get("/api/v1/auth/me", token)
        assert (me.status, await code_of(me)) == (401, "unauthenticated")
    assert house.counted("minuet_token_refreshes_total", result="reused") == 1


async def test_of_fifty_refreshes_of_one_token_at_once_one_wins_and_the_sign_in_ends(house: Any) -> None:
    """Through the whole server: one 200, 49 refusals, and the winner's tokens are void afterwards."""
    data = await house.sign_up()
    other = await house.post("/api/v1/auth/login", credentials(data))
    untouched = (await other.json())["data"]

    answers = await asyncio.gather(
        *(house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]}) for _ in range(50))
    )

    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200] + [401] * 49
    [winner] = [(await answer.json())["data"] for answer in answers if answer.status == 200]
    late = await house.post("/api/v1/auth/refresh", {"refresh_token": winner["refresh_token"]})
    assert late.status == 401
    assert (await house.get("/api/v1/auth/me", winner["access_token"])).status == 401
    assert (await house.get("/api/v1/auth/me", untouched["access_token"])).status == 200


UNKNOWN_TOKENS = ["", "x", "mrt_" + "A" * 43, "mrt_" + "é" * 43, "\x00", "A" * 1_000]


async def test_an_unknown_refresh_token_is_refused(house: Any) -> None:
    """In one way, whatever it looks like."""
    for token in UNKNOWN_TOKENS:
        answer = await house.post("/api/v1/auth/refresh", {"refresh_token": token})

        assert answer.status == 401, token
        assert (await answer.json())["error"]["message"] == "The refresh token is not valid."


async def test_signing_out_ends_this_sign_in_at_once(house: Any) -> None:
    """Access and refresh tokens; the log tells the hubs which sockets to close."""
    data = await house.sign_up()
    answer = await house.post("/api/v1/auth/logout", token=data["access_token"])

    assert answer.status == 200
    assert (await answer.json())["data"] == {}
    assert (await house.get("/api/v1/auth/me", data["access_token"])).status == 401
    refresh = await house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]})
    assert refresh.status == 401
    _, entries = await house.services.revocations.read_since("0-0")
    assert [(entry.user_id, entry.reason) for entry in entries] == [(data["user"]["id"], "logout")]


async def test_signing_out_everywhere_ends_all_and_lets_in_again(house: Any) -> None:
    """A sign-in right afterwards is not caught by it, however close."""
    data = await house.sign_up()
    other = (await (await house.post("/api/v1/auth/login", credentials(data))).json())["data"]
    stranger = await house.sign_up()

    await house.post("/api/v1/auth/logout-all", token=data["access_token"])
    again = (await (await house.post("/api/v1/auth/login", credentials(data))).json())["data"]

    for gone in (data, other):
        assert (await house.get("/api/v1/auth/me", gone["access_token"])).status == 401
        refresh = await house.post("/api/v1/auth/refresh", {"refresh_token": gone["refresh_token"]})
        assert refresh.status == 401
    for here in (again, stranger):
        assert (await house.get("/api/v1/auth/me", here["access_token"])).status == 200
    _, entries = await house.services.revocations.read_since("0-0")
    assert [(entry.user_id, entry.family_id, entry.reason) for entry in entries] == [
        (data["user"]["id"], None, "logout_all")
    ]


async def test_a_banned_user_is_told_so_with_the_right_password_only(house: Any, database_url: str) -> None:
    """And by the refresh token; guessers learn nothing."""
    data = await house.sign_up()
    await _execute(database_url, "UPDATE accounts.users SET banned_at = now()")

    right = await house.post("/api/v1/auth/login", credentials(data))
    wrong = await house.post("/api/v1/auth/login", credentials(data, "wrong guess"))
    refresh = await house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]})

    assert (right.status, await code_of(right)) == (403, "banned")
    assert (wrong.status, await code_of(wrong)) == (401, "unauthenticated")
    assert (refresh.status, await code_of(refresh)) == (403, "banned")


async def test_a_deleted_account_is_gone(house: Any, database_url: str) -> None:
    """Its last access tokens find nothing, its password opens nothing."""
    data = await house.sign_up()
    await _execute(database_url, "UPDATE accounts.users SET deleted_at = now()")

    assert (await house.get("/api/v1/auth/me", data["access_token"])).status == 404
    assert (await house.get("/api/v1/profile", data["access_token"])).status == 404
    assert (await house.post("/api/v1/auth/login", credentials(data))).status == 401
    refresh = await house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]})
    assert refresh.status == 401


async def test_an_old_hash_is_renewed_at_sign_in(house: Any, database_url: str) -> None:
    """With today's parameters; the password stays what it was."""
    data = await house.sign_up()
    old = PasswordHasher(time_cost=1, memory_cost=256, parallelism=1).hash(PASSWORD)
    await _execute(database_url, "UPDATE accounts.users SET password_hash = $1", old)

    assert (await house.post("/api/v1/auth/login", credentials(data))).status == 200
    stored = await house.store.credentials(data["user"]["email"])
    assert stored.password_hash.startswith("$argon2id$v=19$m=512,t=1,p=1$")
    assert (await house.post("/api/v1/auth/login", credentials(data))).status == 200


async def test_a_hash_that_cannot_be_renewed_now_keeps_nobody_out(
    house: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all hashing threads are busy the old hash stays for another day."""
    data = await house.sign_up()
    old = PasswordHasher(time_cost=1, memory_cost=256, parallelism=1).hash(PASSWORD)
    await _execute(database_url, "UPDATE accounts.users SET password_hash = $1", old)

    async def busy(password: str) -> str:
        raise Unavailable

    monkeypatch.setattr(house.passwords, "hash", busy)
    answer = await house.post("/api/v1/auth/login", credentials(data))

    assert answer.status == 200
    assert (await house.store.credentials(data["user"]["email"])).password_hash == old


async def test_a_new_role_counts_from_the_next_sign_in(house: Any) -> None:
    """Tokens that name the old one are void."""
    data = await house.sign_up()
    await house.services.accounts.appoint(data["user"]["email"], Role.ADMIN)
    old = await house.get("/api/v1/auth/me", data["access_token"])
    login = (await (await house.post("/api/v1/auth/login", credentials(data))).json())["data"]

    assert old.status == 401
    assert login["user"]["role"] == "admin"


async def test_nothing_secret_is_stored_or_counted(house: Any, database_url: str, redis_url: str) -> None:
    """No password and no token in PostgreSQL, Valkey or the metrics; no address in Valkey or the metrics."""
    data = await house.sign_up(email="canary@example.org", password="canary-password-1")
    await house.post("/api/v1/auth/login", credentials(data, "canary-password-2"))
    await house.post("/api/v1/auth/logout", token=data["access_token"])
    connection = await asyncpg.connect(database_url)
    rows = [
        str(await connection.fetch(query))
        for query in (
            "SELECT t::text FROM accounts.users t",
            "SELECT t::text FROM accounts.token_families t",
            "SELECT t::text FROM accounts.refresh_tokens t",
        )
    ]
    await connection.close()
    redis = Redis.from_url(redis_url)
    held = [repr((key, await redis.dump(key))) for key in await redis.keys("*")]
    await redis.aclose()
    counted = generate_latest(house.registry).decode()

    for secret in ("canary-password", data["access_token"], data["refresh_token"]):
        assert secret not in "".join(rows) + "".join(held) + counted
    assert "canary@example.org" not in "".join(held) + counted


async def _execute(database_url: str, statement: str, *values: object) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(statement, *values)
    await connection.close()
