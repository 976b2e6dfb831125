"""Which pages of other origins may use the API."""

from typing import Any

import pytest

from rest.cors import AllowedOrigins
from rest.settings import Limits, RestSettings

ME = "/api/v1/auth/me"
OURS = "https://app.example"
ASKING = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
async def house_with_origins(open_house: Any) -> Any:
    allowed = AllowedOrigins(frozenset({OURS}))
    return await open_house(settings=RestSettings(limits=Limits.off(), allowed_origins=allowed))


async def test_an_allowed_page_may_ask_and_read(house_with_origins: Any) -> None:
    """The preflight needs no token; answers can be read, errors and their headers included."""
    house = house_with_origins
    asked = await house.client.options("/api/v1/profile", headers={"Origin": OURS, **ASKING})
    token = (await house.sign_up())["access_token"]
    read = await house.get(ME, token, headers={"Origin": OURS})
    refused = await house.get(ME, headers={"Origin": OURS})

    assert asked.status == 204
    assert asked.headers["Access-Control-Allow-Origin"] == OURS
    assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in asked.headers
    for answer in (read, refused):
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["Vary"] == "Origin"


FOREIGN = [
    "https://evil.example",
    "null",
    "http://app.example",
    "https://app.example:8443",
    "https://app.example.evil.example",
    "https://evilapp.example",
    "https://app.example/",
    "",
]


async def test_no_other_page_may_read_anything(house_with_origins: Any) -> None:
    """Another scheme, port, prefix or suffix is another origin. The request itself is served: tools send none."""
    house = house_with_origins
    token = (await house.sign_up())["access_token"]
    for origin in FOREIGN:
        asked = await house.client.options("/api/v1/profile", headers={"Origin": origin, **ASKING})
        read = await house.get(ME, token, headers={"Origin": origin})

        assert asked.status == 204, origin
        assert read.status == 200
        for answer in (asked, read):
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
            assert answer.headers["Vary"] == "Origin"


async def test_by_default_no_foreign_page_may(house: Any) -> None:
    """And a star lets all of them, still without credentials."""
    answer = await house.get(ME, headers={"Origin": OURS})

    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Vary" not in answer.headers


async def test_a_star_allows_every_page(open_house: Any) -> None:
    """Named one by one, so that caches keep them apart."""
    house = await open_house(settings=RestSettings(limits=Limits.off(), allowed_origins=AllowedOrigins("*")))
    answer = await house.get(ME, headers={"Origin": "https://any.example"})

    assert answer.headers["Access-Control-Allow-Origin"] == "https://any.example"
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_only_the_api_is_open_to_other_pages(house_with_origins: Any) -> None:
    """Nothing else of the port; and an OPTIONS that is no preflight is no method of ours."""
    house = house_with_origins
    health = await house.get("/healthz", headers={"Origin": OURS})
    plain = await house.client.options("/api/v1/profile")

    assert "Access-Control-Allow-Origin" not in health.headers
    assert plain.status == 405
