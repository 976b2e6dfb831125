"""A profile over REST: what of it may be changed, and into what."""

from typing import Any


async def put(house: Any, token: str, body: object) -> Any:
    return await house.client.put("/api/v1/profile", json=body, headers={"Authorization": f"Bearer {token}"})


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
