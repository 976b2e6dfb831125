"""What people do while a server is not at its best: they try again for as long as it says that they may."""

import asyncio

from loadtests.swarm.client import Client, Message, RequestRefused
from tests.fixtures.deployment import People

SETTLED_S = 30.0
"""How long everything may take to be as it was, on a machine that has much else to do."""


async def patiently(client: Client, type_: str, data: Message | None = None) -> Message:
    """Asks until it is granted; any refusal that does not say "try again" is a failure."""
    async with asyncio.timeout(SETTLED_S):
        while True:
            try:
                return await client.request(type_, data)
            except RequestRefused as refused:
                assert refused.code == "unavailable", refused
                assert refused.data["retryable"]
                await asyncio.sleep(refused.data.get("retry_after_ms", 200) / 1000)


def told(client: Client, *types: str) -> list[Message]:
    """What came of these types, and was not waited for."""
    return [message for message in client.inbox if message["type"] in types]


async def ends_in_history(people: People, hub: str, client: Client, call_id: str) -> list[str]:
    """The reasons for which a call ended, one for each time that somebody's history has it."""
    headers = {"Authorization": f"Bearer {client.account['access_token']}"}
    async with asyncio.timeout(SETTLED_S):
        while True:
            async with people.http.get(f"{hub}/api/v1/history/interactions", headers=headers) as answer:
                page = await answer.json()
            reasons = [each["reason"] for each in page.get("data") or [] if each["call_id"] == call_id]
            if reasons:
                return reasons
            await asyncio.sleep(0.2)
