"""What operators see of people, calls and queues: numbers."""

from typing import Any

import pytest

from accounts.model import Role


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
