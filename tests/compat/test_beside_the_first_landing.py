"""Hubs and clients of the first landing work together with today's, while one is being replaced by the other."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.compat.releases import Beside
from tests.compat.talking import AnyClient, begin, meet, part, see
from tests.fixtures.deployment import People
from tests.fixtures.patience import SETTLED_S

Placed = tuple[AnyClient, AnyClient]


async def interactions(http: aiohttp.ClientSession, url: str, client: AnyClient) -> list[dict[str, Any]]:
    """The calls that somebody's history has."""
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    async with http.get(f"{url}/api/v1/history/interactions", headers=headers) as response:
        data: list[dict[str, Any]] = (await response.json())["data"]
        return data


async def told_once(people: People, url: str, client: AnyClient, call_id: str) -> None:
    """Waits until the call is in somebody's history, and looks again a little later."""
    async with asyncio.timeout(SETTLED_S):
        while not await interactions(people.http, url, client):
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    assert [entry["call_id"] for entry in await interactions(people.http, url, client)] == [call_id]


async def online(
    people: People, beside: Beside, url: str, gender: str, *, old: bool, codec: str
) -> AnyClient:
    """Somebody new on a hub, with a client of either release."""
    if not old:
        return await people.online(url, gender, codec)
    client = beside.landing.client_class()(people.http, url, codec=codec)
    client.account = await people.account(url, gender)
    people.clients.append(client)
    await client.start(client.account["access_token"])
    return client


async def test_the_two_hubs_are_of_two_releases(beside: Beside, people: People) -> None:
    """Else the tests below would show nothing: only today's knows connections."""
    statuses = []
    for hub in (beside.old_hub, beside.new_hub):
        async with people.http.get(f"{hub.public}/api/v1/connections") as response:
            statuses.append(response.status)

    assert statuses == [404, 401]


@pytest.mark.parametrize("she_is_on", ["old", "new"])
async def test_a_call_between_an_old_and_a_new_hub(beside: Beside, people: People, she_is_on: str) -> None:
    """Match, voice, candidates, video allowed and taken back, hangup: all cross over, and history has it once."""
    hubs = {"old": beside.old_hub.public, "new": beside.new_hub.public}
    he_is_on = "new" if she_is_on == "old" else "old"
    her = await people.online(hubs[she_is_on], "female")
    him = await people.online(hubs[he_is_on], "male", codec="msgpack")

    call_id = await meet(her, him)
    await begin(her, him, call_id)
    await see(her, him, call_id)
    await part(her, him, call_id)

    await told_once(people, hubs["new"], her, call_id)
    await told_once(people, hubs["old"], him, call_id)
    assert beside.complaints() == []


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize("client", ["old client on new hub", "new client on old hub"])
async def test_a_client_of_the_other_release(beside: Beside, people: People, client: str, codec: str) -> None:
    """An app is updated before or after the server: the whole story is the same."""
    old = client.startswith("old")
    url = beside.new_hub.public if old else beside.old_hub.public
    her = await online(people, beside, url, "female", old=old, codec=codec)
    him = await online(people, beside, url, "male", old=old, codec=codec)

    call_id = await meet(her, him)
    await begin(her, him, call_id)
    await see(her, him, call_id)
    await part(her, him, call_id)

    await told_once(people, beside.new_hub.public, him, call_id)
    assert beside.complaints() == []


@pytest.mark.parametrize("he_goes", ["from old to new", "from new to old"])
async def test_a_resume_across_releases_starts_anew_and_takes_over(
    beside: Beside, people: People, he_goes: str
) -> None:
    """Nothing is handed over between the two, and the client is told so; its call goes on all the same."""
    old, new = beside.old_hub.public, beside.new_hub.public
    here, there = (old, new) if he_goes == "from old to new" else (new, old)
    her = await people.online(here, "female")
    him = await people.online(here, "male")
    call_id = await meet(her, him)
    await begin(her, him, call_id)
    elsewhere = people.client(there, device_id=him.device_id)
    elsewhere.session_id = him.session_id
    elsewhere.wire.last_seq = him.last_seq

    await him.drop()
    await her.wait_for("call.state", state="reconnecting")
    answer = await elsewhere.resume(him.account["access_token"])

    assert answer["type"] == "session.ready"
    assert answer["data"]["resumed"] is False
    assert answer["data"]["snapshot"]["call"]["call_id"] == call_id
    # The negotiation that was under way is void; media comes up again and the clock never stopped.
    for side in (her, elsewhere):
        await side.request("call.media", {"call_id": call_id, "state": "connected"})
    await asyncio.gather(*(side.wait_for("call.state", SETTLED_S, state="live") for side in (her, elsewhere)))
    await part(her, elsewhere, call_id)
    await told_once(people, new, her, call_id)
    assert beside.complaints() == []


@pytest.mark.parametrize("she_goes", ["from old to new", "from new to old"])
async def test_a_place_in_the_queue_is_no_hindrance_on_the_other_release(
    beside: Beside, people: People, she_goes: str
) -> None:
    """Whoever waited on one hub can start anew on the other, join there, and is matched once."""
    old, new = beside.old_hub.public, beside.new_hub.public
    here, there = (old, new) if she_goes == "from old to new" else (new, old)
    her = await people.online(here, "female")
    await her.request("queue.join", {"intent": "dating", "preferences": {}})
    again = people.client(there, device_id=her.device_id)

    await again.start(her.account["access_token"])
    assert await her.wait_closed() == 4501
    await again.request("queue.join", {"intent": "dating", "preferences": {}})
    him = await people.online(here, "male")
    await him.request("queue.join", {"intent": "dating", "preferences": {}})

    found = await asyncio.gather(again.wait_for("match.found"), him.wait_for("match.found"))
    assert found[0]["call_id"] == found[1]["call_id"]
    assert beside.complaints() == []


@pytest.mark.parametrize("dies", ["old", "new"])
async def test_a_call_outlives_the_hub_of_one_side(beside: Beside, people: People, dies: str) -> None:
    """kill -9 of one release's hub: the other side hears `reconnecting`, the lost one goes on with the other release."""
    old, new = beside.old_hub, beside.new_hub
    dying, living = (old, new) if dies == "old" else (new, old)
    her = await people.online(living.public, "female")
    him = await people.online(dying.public, "male")
    call_id = await meet(her, him)
    await begin(her, him, call_id)
    elsewhere = people.client(living.public, device_id=him.device_id)

    await dying.kill()
    await her.wait_for("call.state", SETTLED_S, state="reconnecting")
    ready = await elsewhere.start(him.account["access_token"])

    assert ready["snapshot"]["call"]["call_id"] == call_id
    for side in (her, elsewhere):
        await side.request("call.media", {"call_id": call_id, "state": "connected"})
    await part(her, elsewhere, call_id)
    await told_once(people, living.public, her, call_id)


@pytest.mark.parametrize("hub", ["old", "new"])
@pytest.mark.parametrize("old_role", ["matchmaker", "worker"])
async def test_a_hub_works_with_either_release_s_helpers(
    bare: Beside, people: People, hub: str, old_role: str
) -> None:
    """In whatever order they are replaced: a matchmaker or a worker of the first landing serves hubs of both."""
    roles = {"matchmaker", "worker"} - {old_role}
    await asyncio.gather(
        bare.today.start_all("serve", *roles), bare.start_old("serve"), bare.start_old(old_role)
    )
    url = bare.old_hub.public if hub == "old" else bare.new_hub.public
    her, him = await people.online(url, "female"), await people.online(url, "male")

    call_id = await meet(her, him)
    await begin(her, him, call_id)
    await part(her, him, call_id)
    # And once more, so that nothing of the first time stands in the way.
    await her.request("queue.join", {"intent": "friends", "preferences": {}})
    await her.request("queue.leave")

    await told_once(people, bare.new_hub.public, her, call_id)
    assert bare.complaints() == []


async def test_a_hub_of_the_first_landing_is_drained_into_one_of_today(
    beside: Beside, people: People
) -> None:
    """The update itself: its people are told to come back, start anew on the other hub, and go on with their calls."""
    her = await people.online(beside.old_hub.public, "female")
    him = await people.online(beside.old_hub.public, "male")
    call_id = await meet(her, him)
    await begin(her, him, call_id)

    stopping = asyncio.create_task(beside.old_hub.stop())
    moved = []
    for client in (her, him):
        assert await client.wait_closed() == 4001
        elsewhere = people.client(beside.new_hub.public, device_id=client.device_id)
        elsewhere.session_id = client.session_id
        elsewhere.wire.last_seq = client.last_seq
        elsewhere.account = client.account
        answer = await elsewhere.resume(client.account["access_token"])
        assert answer["data"]["resumed"] is False
        assert answer["data"]["snapshot"]["call"]["call_id"] == call_id
        moved.append(elsewhere)
    assert await stopping == 0
    for side in moved:
        await side.request("call.media", {"call_id": call_id, "state": "connected"})
    await asyncio.gather(*(side.wait_for("call.state", SETTLED_S, state="live") for side in moved))
    await part(moved[0], moved[1], call_id)

    await told_once(people, beside.new_hub.public, her, call_id)
