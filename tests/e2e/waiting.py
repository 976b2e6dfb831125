"""Waiting for what must come, and asking REST as the people themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp

from loadtests.swarm.client import Message

T = TypeVar("T")

POLL_S = 0.1


async def until(look: Callable[[], Awaitable[T | None]], timeout_s: float) -> T:
    """What `look` answers once that is not None. Raises: TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            seen = await look()
            if seen is not None:
                return seen
            await asyncio.sleep(POLL_S)


async def login(http: aiohttp.ClientSession, url: str, account: Message) -> str:
    """A new access token."""
    body = {"email": account["email"], "password": account["password"]}
    async with http.post(f"{url}/api/v1/auth/login", json=body) as response:
        answer = await response.json()
    token: str = answer["data"]["access_token"]
    return token


async def history(
    http: aiohttp.ClientSession, url: str, account: Message, *, at_least: int, timeout_s: float = 60.0
) -> list[dict[str, Any]]:
    """All finished calls of somebody, newest first, as soon as there are that many.

    What is `unavailable` for a while is asked for again; any other error fails the test.
    """

    async def look() -> list[dict[str, Any]] | None:
        rows = await _all_pages(http, url, account["access_token"])
        return rows if len(rows) >= at_least else None

    return await until(look, timeout_s)


async def metrics(http: aiohttp.ClientSession, admin_url: str) -> dict[str, float]:
    """Samples of a process by name and labels, as its admin port shows them."""
    async with http.get(f"{admin_url}/metrics") as response:
        text = await response.text()
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def _all_pages(http: aiohttp.ClientSession, url: str, token: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = {"limit": "50"} if cursor is None else {"limit": "50", "cursor": cursor}
        headers = {"Authorization": f"Bearer {token}"}
        async with http.get(f"{url}/api/v1/history/interactions", params=query, headers=headers) as response:
            answer = await response.json()
        if not answer["success"]:
            assert answer["error"]["retryable"], answer
            return []
        rows += answer["data"]
        cursor = (answer.get("meta") or {}).get("next_cursor")
        if cursor is None:
            return rows
