"""`minuet serve --role`: one port for WebSocket, another for REST, and one deployment all the same."""

import aiohttp
import pytest

from tests.compat.talking import begin, meet, part
from tests.fixtures.deployment import Deploy, People


async def status(people: People, url: str, path: str) -> int:
    async with people.http.get(f"{url}{path}") as response:
        return response.status


async def test_people_register_here_and_talk_there(deploy: Deploy, people: People) -> None:
    """Accounts and twins over REST work for calls on hubs that have no REST; neither port offers the other's."""
    deployment = await deploy(
        "serve --role rest", "serve --role hub --workers 2", "matchmaker", "worker", config=""
    )
    rest, hub = (process.public for process in deployment.processes if process.public)
    if await status(people, rest, "/") != 200:
        rest, hub = hub, rest
    her, him = (people.client(hub) for _ in range(2))
    for client, gender in ((her, "female"), (him, "male")):
        client.account = await people.account(rest, gender)
        await client.start(client.account["access_token"])
    call_id = await meet(her, him)
    await begin(her, him, call_id)
    headers = {"Authorization": f"Bearer {her.account['access_token']}"}
    async with people.http.post(
        f"{rest}/api/v1/interactions/{call_id}/video-approval", json={"direction": "both"}, headers=headers
    ) as response:
        approved = response.status
    await him.wait_for("video.allowed", call_id=call_id)
    await part(her, him, call_id)

    assert approved == 200
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await people.client(rest).open()
    assert refused.value.status == 404
    assert await status(people, hub, "/api/v1/history/interactions") == 404
    assert await status(people, hub, "/") == 404
    assert await status(people, rest, "/api/v1/history/interactions") == 401
