"""Two people who stay in touch: through a call, as anybody, or at once, where the call is not what a test is about."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from base.ids import CallId, ConnectionId, UserId
from chat.model import Wish, in_order
from loadtests.swarm.client import Client, Message
from storage.postgres.connections import make_connections
from tests.contract.calls.call_records import new_id, now_ms
from tests.fixtures.deployment import People


@dataclass
class Couple:
    """Each with an account, and with a device that has a session."""

    her: Client
    him: Client
    connection_id: str

    @property
    def named(self) -> Message:
        return {"connection_id": self.connection_id}

    async def say(self, client: Client, body: str = "hello", client_id: str | None = None) -> Message:
        """The answer to `chat.send` of one of the two."""
        message = {**self.named, "client_id": client_id or uuid.uuid4().hex, "body": body}
        return await client.request("chat.send", message)


async def connected(people: People, database_url: str, hers: str, his: str | None = None) -> Couple:
    """A couple whose connection was written by a call that is not in the way; each on a hub."""
    her = await people.account(hers, "female", first_name="Ada")
    him = await people.account(hers, "male", first_name="Bob")
    connection_id = await connect(database_url, her["user"]["id"], him["user"]["id"])
    couple = Couple(people.client(hers), people.client(his or hers, codec="msgpack"), connection_id)
    for client, account in ((couple.her, her), (couple.him, him)):
        client.account = account
        await client.start(account["access_token"])
    return couple


async def connect(database_url: str, her_id: str, him_id: str) -> str:
    """Writes the connection of two, as something that both were told already; its id."""
    low, high = in_order(UserId(her_id), UserId(him_id))
    wish = Wish(ConnectionId(new_id()), low, high, CallId(new_id()), now_ms())
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
    people: People, base_url: str, client: Client, request: str, body: Mapping[str, Any] | None = None
) -> tuple[int, Message]:
    """Status and answer of a request of somebody, e.g. `GET /connections`."""
    method, path = request.split(" ")
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    async with people.http.request(
        method, f"{base_url}/api/v1{path}", json=body, headers=headers
    ) as response:
        answer: Message = await response.json()
        return response.status, answer


async def asked(
    people: People, base_url: str, client: Client, request: str, body: Mapping[str, Any] | None = None
) -> Any:
    """The data of a request that succeeds."""
    status, answer = await rest(people, base_url, client, request, body)
    assert status in (200, 201, 202), answer
    return answer["data"]


async def hears_nothing(client: Client, *types: str, for_s: float = 0.5) -> None:
    """Fails where a message of these types comes."""
    with pytest.raises(TimeoutError):
        await client.wait_until(lambda message: message["type"] in types, timeout_s=for_s)
