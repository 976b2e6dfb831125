"""Two people who stay in touch: through a call, as anybody, or at once, where the call is not what a test is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg

from chat.model import Wish, in_order
from loadtests.swarm.client import Client, Message
from storage.postgres.connections import make_connections
from tests.contract.calls.call_records import new_id, now_ms
from tests.fixtures.deployment import People
from tests.integration.hub.test_calls_over_the_hub import meet, talk


@dataclass
class Couple:
    """Each with an account, and with a device that has a session."""

    her: Client
    him: Client
    connection_id: str

    @property
    def both(self) -> tuple[Client, Client]:
        return self.her, self.him


async def connected(people: People, database_url: str, hers: str, his: str | None = None) -> Couple:
    """A couple whose connection was written by a call that is not in the way; each on a hub."""
    her = await people.account(hers, "female", first_name="Ada")
    him = await people.account(hers, "male", first_name="Bob")
    connection_id = await connect(database_url, her["user"]["id"], him["user"]["id"])
    couple = Couple(people.client(hers), people.client(his or hers, codec="msgpack"), connection_id)
    for client, account in zip(couple.both, (her, him), strict=True):
        client.account = account
        await client.start(account["access_token"])
    return couple


async def connect(database_url: str, her_id: str, him_id: str) -> str:
    """Writes the connection of two, and says that both were told; its id."""
    low, high = in_order(her_id, him_id)
    wish = Wish(new_id(), low, high, new_id(), now_ms())
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            (made,) = await make_connections(connection, [wish])
        await connection.execute(
            "UPDATE chat.connections SET tell_at = NULL WHERE id = $1", wish.connection_id
        )
    finally:
        await connection.close()
    return made.connection_id


async def device_of(people: People, base_url: str, client: Client, codec: str = "json") -> Client:
    """One more device of somebody, started."""
    other = people.client(base_url, codec)
    other.account = client.account
    await other.start(client.account["access_token"])
    return other


async def rest(
    people: People,
    base_url: str,
    client: Client,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
) -> tuple[int, Message]:
    """Status and answer of a request of somebody."""
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    url = f"{base_url}/api/v1{path}"
    async with people.http.request(method, url, json=body, headers=headers) as response:
        answer: Message = await response.json()
        return response.status, answer


async def data(
    people: People,
    base_url: str,
    client: Client,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
) -> Any:
    """The data of a request that succeeds."""
    status, answer = await rest(people, base_url, client, method, path, body)
    assert status in (200, 201), answer
    return answer["data"]


__all__ = ["Couple", "aiohttp", "connect", "connected", "data", "device_of", "meet", "rest", "talk"]
