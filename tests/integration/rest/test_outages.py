"""REST while PostgreSQL is gone or silent, or Redis is gone: refusals that say when to come back, and service again."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from base.errors import Unavailable
from minuet.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.migrations import migrate


@pytest.mark.parametrize("fate", ["killed", "silent"])
async def test_without_postgresql_accounts_are_unavailable_in_bounded_time(
    open_house: Any, private_postgres: EmbeddedPostgres, fate: str
) -> None:
    """503 with Retry-After, nothing half done; what needs no database goes on; then all is as before."""
    await prepare(private_postgres)
    house = await open_house(database_url=private_postgres.url, patience_s=1.5)
    data = await house.sign_up()
    token = data["access_token"]
    person = {
        "email": "eve@example.org",
        "password": "correct horse battery",
        "first_name": "Eve",
        "gender": "female",
        "birth_date": "1990-05-17",
    }
    if fate == "killed":
        await private_postgres.kill()
    else:
        private_postgres.pause()
    began = time.monotonic()
    answers = await asyncio.gather(
        house.get("/api/v1/auth/me", token),
        house.get("/api/v1/profile", token),
        house.client.put(
            "/api/v1/profile", json={"first_name": "Eve"}, headers={"Authorization": f"Bearer {token}"}
        ),
        house.post("/api/v1/auth/register", person),
        house.post(
            "/api/v1/auth/login", {"email": data["user"]["email"], "password": "correct horse battery"}
        ),
        house.post("/api/v1/auth/refresh", {"refresh_token": data["refresh_token"]}),
        house.post("/api/v1/auth/logout", token=token),
    )
    took_s = time.monotonic() - began
    unaffected = await house.post(
        "/api/v1/interactions/0192f0c1-2345-7abc-8def-0123456789ab/connect", token=token
    )
    if fate == "killed":
        await private_postgres.start()
    else:
        private_postgres.resume()

    for answer in answers:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "unavailable"
        assert int(answer.headers["Retry-After"]) >= 1
        assert "postgres" not in (await answer.text()).lower()
    assert took_s < 20
    assert unaffected.status == 200
    async with asyncio.timeout(30):
        while (await house.get("/api/v1/auth/me", token)).status != 200:
            await asyncio.sleep(0.1)
    assert await _served(house, "/api/v1/auth/register", person) in {201, 409}
    refresh = {"refresh_token": data["refresh_token"]}
    assert await _served(house, "/api/v1/auth/refresh", refresh) in {200, 401}


async def _served(house: Any, path: str, body: object) -> int:
    """The status, once it is not that somebody has to come back: some connections may still be of before."""
    async with asyncio.timeout(30):
        while True:
            answer = await house.post(path, body)
            if answer.status != 503:
                status: int = answer.status
                return status
            await asyncio.sleep(0.1)


async def test_a_killed_database_loses_no_answered_registration(
    open_house: Any, private_postgres: EmbeddedPostgres
) -> None:
    """What was answered with 201 is there after the crash."""
    await prepare(private_postgres)
    house = await open_house(database_url=private_postgres.url)
    signing_up = [asyncio.create_task(_try_sign_up(house, number)) for number in range(20)]
    await asyncio.wait(signing_up, return_when=asyncio.FIRST_COMPLETED)
    await private_postgres.kill()
    answered = [data for data in await asyncio.gather(*signing_up) if data is not None]
    await private_postgres.start()

    assert answered, "the server died before anybody had registered"
    for data in answered:
        assert await _kept(house, data["user"]["id"]) is not None


async def _kept(house: Any, user_id: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            try:
                return await house.store.user(user_id)
            except Unavailable:
                await asyncio.sleep(0.1)


async def prepare(server: EmbeddedPostgres) -> None:
    """A schema, and commits that are written before they are answered, as servers have it outside of tests."""
    connection = await asyncpg.connect(server.url)
    await connection.execute("ALTER DATABASE minuet SET synchronous_commit = on")
    await connection.close()
    await migrate(server.url)


async def _try_sign_up(house: Any, number: int) -> dict[str, Any] | None:
    answer = await house.post(
        "/api/v1/auth/register",
        {
            "email": f"crash{number}@example.org",
            "password": "correct horse battery",
            "first_name": "Ada",
            "gender": "female",
            "birth_date": "1990-05-17",
        },
    )
    if answer.status != 201:
        assert answer.status == 503
        return None
    data: dict[str, Any] = (await answer.json())["data"]
    return data


COMMANDS = {
    "connect": (503, None),
    "video-request": (503, None),
    "video-approval": (503, {"direction": "both"}),
    "video-denial": (503, None),
    "feedback": (503, {"rating": 5}),
    "pass": (200, None),
    "video-revocation": (200, None),
    "hangup": (200, None),
}


@pytest.mark.parametrize("key", ["", "k1"], ids=["without a key", "with a key"])
async def test_without_redis_people_can_still_take_things_away(
    open_house: Any, private_valkey: EmbeddedValkey, key: str
) -> None:
    """Hanging up needs nobody to say that the token was not revoked; everything else does, and still does after."""
    house = await open_house(redis_url=private_valkey.url, patience_s=1.0)
    token = (await house.sign_up())["access_token"]
    call = "/api/v1/interactions/0192f0c1-2345-7abc-8def-0123456789ab"
    headers = {"Idempotency-Key": key} if key else {}
    await private_valkey.kill()
    statuses = {
        path: (await house.post(f"{call}/{path}", body, token, headers=headers)).status
        for path, (_, body) in COMMANDS.items()
    }
    forged = await house.post(f"{call}/hangup", token=token[:-4] + "AAAA", headers=headers)
    nobody = await house.post(f"{call}/hangup", headers=headers)

    assert statuses == {path: status for path, (status, _) in COMMANDS.items()}
    assert [what for what, _, _ in house.calls.asked] == ["pass_by", "revoke_video", "hang_up"]
    assert (forged.status, nobody.status) == (401, 401)
    assert house.counted("minuet_http_revocation_unchecked_total") == 3
