"""What `/readyz` says of the TURN servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from base.ids import CallId
from jobs.ports import TurnUnavailable
from minuet.commands.dev import with_turn
from minuet.embedded.coturn import EmbeddedCoturn
from minuet.settings import Settings, load
from minuet.wiring.turn import AllocationsNotEnded, TurnNotConfigured, check_turn, turn_admins
from storage.redis.client import connect
from storage.redis.keys import Keys, call_partition
from storage.redis.turn_visits import RedisTurnVisits
from tests.contract.calls.call_records import new_id, now_ms
from tests.fixtures.turn import running_coturn

KEYS = Keys("test:")


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCoturn]:
    with running_coturn(tmp_path_factory.mktemp("coturn")) as server:
        yield server


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def check(settings: Settings, redis: Redis) -> None:
    await check_turn(settings, turn_admins(settings), RedisTurnVisits(redis, KEYS))


async def test_a_server_that_answers_is_well(coturn: EmbeddedCoturn, redis: Redis) -> None:
    """Logged in, and nothing overdue."""
    await check(with_turn(load({}), coturn.access), redis)


async def test_no_server_at_all_is_said(redis: Redis) -> None:
    """Calls connect, and show addresses."""
    with pytest.raises(TurnNotConfigured):
        await check(load({}), redis)


async def test_a_server_that_does_not_answer_is_said(coturn: EmbeddedCoturn, redis: Redis) -> None:
    """Before whoever asks gives up."""
    settings = with_turn(load({}), coturn.access)
    coturn.pause()
    try:
        async with asyncio.timeout(30):
            with pytest.raises(TurnUnavailable):
                await check(settings, redis)
    finally:
        coturn.resume()


async def test_a_process_that_cannot_reach_it_says_whether_anybody_ends_allocations(redis: Redis) -> None:
    """A hub knows the server's address for clients, and no admin interface; the list tells."""
    settings = load(
        {
            "MINUET_TURN_URLS": "turn:turn.example:3478",
            "MINUET_TURN_SECRET": "s" * 20,
            "MINUET_TURN_RELAY_ADDRESSES": "198.51.100.7",
        }
    )
    await check(settings, redis)
    call_id = CallId(new_id())
    since = now_ms() - 61_000
    await redis.zadd(KEYS.calls_to_visit(call_partition(call_id)), {f"{call_id} {since}": since})

    with pytest.raises(AllocationsNotEnded):
        await check(settings, redis)
