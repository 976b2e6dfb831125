"""Both stores of chat, and people to connect."""

import itertools
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import pytest

from base.ids import CallId, ConnectionId, UserId, uuid7
from chat.model import Draft, Sent, Wish, in_order
from storage.postgres.chat import PostgresMessages
from storage.postgres.connections import PostgresConnections
from tests.contract.calls.call_records import new_id, now_ms
from tests.contract.recorder.archive_rows import add_pair


@dataclass(frozen=True)
class Couple:
    """Two accounts, and how they were connected."""

    her: UserId
    him: UserId
    connection_id: ConnectionId


AddCouple = Callable[[], Awaitable[Couple]]

_calls = itertools.count()


def wish(one: str, other: str, *, call_id: str | None = None, at: int | None = None) -> Wish:
    """Two who have just agreed to stay in touch; in a call that began after those of all wishes before."""
    low, high = in_order(UserId(one), UserId(other))
    call_id = call_id or uuid7(now_ms() + next(_calls), os.urandom(10))
    moment = now_ms() if at is None else at
    return Wish(ConnectionId(new_id()), low, high, CallId(call_id), moment)


def draft(couple: Couple, by: str, body: str = "hello", client_id: str | None = None) -> Draft:
    return Draft(couple.connection_id, UserId(by), new_id(), client_id or new_id(), body, now_ms())


@pytest.fixture
def messages(pool: asyncpg.Pool) -> PostgresMessages:
    return PostgresMessages(pool)


@pytest.fixture
def connections(pool: asyncpg.Pool) -> PostgresConnections:
    return PostgresConnections(pool)


@pytest.fixture
def add_couple(database: asyncpg.Connection, connections: PostgresConnections) -> AddCouple:
    async def add() -> Couple:
        her, him = await add_pair(database)
        (made,) = await connections.make([wish(her, him)])
        return Couple(UserId(her), UserId(him), made.connection_id)

    return add


@pytest.fixture
async def couple(add_couple: AddCouple) -> Couple:
    return await add_couple()


Say = Callable[..., Awaitable[Sent]]


@pytest.fixture
def say(messages: PostgresMessages) -> Say:
    async def one(couple: Couple, by: str, body: str = "hello", client_id: str | None = None) -> Sent:
        return await messages.send(draft(couple, by, body, client_id), apart=())

    return one
