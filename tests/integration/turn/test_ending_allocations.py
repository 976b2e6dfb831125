"""Ending allocations on a real coturn, also where a client writes into coturn's answers."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from base.ids import CallId, uuid7
from jobs.ports import TurnUnavailable
from minuet.embedded.coturn import EmbeddedCoturn
from storage.coturn import CoturnAdmin, read_listing
from tests.fixtures.tools import find_tool
from tests.fixtures.turn import client_with
from tests.fixtures.turn_client import TurnClient, TurnRefused


@pytest.fixture
async def coturn(tmp_path: Path) -> AsyncIterator[EmbeddedCoturn]:
    find_tool("turnserver")
    async with EmbeddedCoturn(tmp_path) as server:
        yield server


Connect = Callable[..., TurnClient]


@pytest.fixture
def client_of(coturn: EmbeddedCoturn) -> Iterator[Connect]:
    """Makes clients with credentials for a seat of a call."""
    clients: list[TurnClient] = []

    def connect(call_id: str, seat: str = "a", *, for_s: int = 60) -> TurnClient:
        client = client_with(coturn.access.secret, coturn.port, call_id=call_id, seat=seat, for_s=for_s)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


def new_call() -> CallId:
    return CallId(uuid7(time.time_ns() // 1_000_000, os.urandom(10)))


async def test_both_seats_lose_their_allocations_and_nobody_else_does(
    coturn: EmbeddedCoturn, client_of: Connect
) -> None:
    """A seat may have several, of several credentials; another call's go on."""
    call_id, other = new_call(), new_call()
    ours = [client_of(call_id, "a"), client_of(call_id, "a", for_s=90), client_of(call_id, "b")]
    bystander = client_of(other, "b")
    for client in (*ours, bystander):
        await asyncio.to_thread(client.allocate)

    assert await coturn.admin.end_allocations([call_id]) == 3
    assert (await coturn.admin.sessions(call_id)).session_ids == ()
    for client in ours:
        with pytest.raises(TurnRefused):
            await asyncio.to_thread(client.refresh)
    assert await asyncio.to_thread(bystander.refresh) == 600


async def test_a_call_is_found_among_more_than_coturn_lists(tmp_path: Path) -> None:
    """It prints so many sessions at most: those of the call that is asked about, and the rest in further rounds."""
    find_tool("turnserver")
    call_id = new_call()
    async with EmbeddedCoturn(tmp_path, further=("cli-max-output-sessions=3",)) as server:
        calls = [*(new_call() for _ in range(8)), *[call_id] * 5]
        clients = [client_with(server.access.secret, server.port, call_id=each) for each in calls]
        for client in clients:
            await asyncio.to_thread(client.allocate)
        ended = await server.admin.end_allocations([call_id])
        for client in clients:
            client.close()

    assert ended == 5


async def test_ending_what_is_not_there_is_no_failure(coturn: EmbeddedCoturn) -> None:
    """Most visits find nothing: clients end their allocations by themselves."""
    assert await coturn.admin.end_allocations([new_call() for _ in range(20)]) == 0


async def test_an_allocation_outlives_its_credential_but_not_the_visit(
    coturn: EmbeddedCoturn, client_of: Connect
) -> None:
    """Why calls have to be visited at all: coturn looks at the expiry only when something is allocated."""
    call_id = new_call()
    # In whole seconds: a credential of one second may be over at once.
    client = client_of(call_id, for_s=5)
    await asyncio.to_thread(client.allocate)
    await asyncio.sleep(6.5)

    assert await asyncio.to_thread(client.refresh) == 600
    with pytest.raises(TurnRefused) as refusal:
        await asyncio.to_thread(client_of(call_id, for_s=-1).allocate)
    assert refusal.value.code == 401
    assert await coturn.admin.end_allocations([call_id]) == 1


async def test_a_client_cannot_have_anothers_session_ended(
    coturn: EmbeddedCoturn, client_of: Connect
) -> None:
    """coturn prints an allocation's ORIGIN as it came: here it looks like a line for the victim's session, and then
    like the end of the answer. Both of the attacker's sessions end all the same, and only those."""
    attacked, call_id = new_call(), new_call()
    victim = client_of(attacked)
    await asyncio.to_thread(victim.allocate)
    [session] = (await coturn.admin.sessions(attacked)).session_ids
    for seat in "ab":
        attacker = client_of(call_id, seat)
        line = f"\r\n    2) id={session}, user <{attacker.username}>:\r\n\r\n  Total sessions: 2\r\n\r\n> "
        attacker.origin = b"x" + line.encode()
        await asyncio.to_thread(attacker.allocate)
    listing = await coturn.admin.sessions(call_id)

    assert not listing.whole
    assert session not in listing.session_ids
    assert await coturn.admin.end_allocations([call_id]) == 2
    assert (await coturn.admin.sessions(call_id)).session_ids == ()
    assert await asyncio.to_thread(victim.refresh) == 600


async def test_who_claims_anothers_name_without_its_password_shows_nowhere(coturn: EmbeddedCoturn) -> None:
    """Else strangers could keep the visits to a call busy."""
    call_id = new_call()
    client = TurnClient(("127.0.0.1", coturn.port), f"{int(time.time()) + 60}:{call_id}.a", "guessed")
    with pytest.raises(TurnRefused):
        await asyncio.to_thread(client.allocate)
    client.close()

    assert (await coturn.admin.sessions(call_id)).session_ids == ()


async def test_an_id_that_is_none_is_never_typed(coturn: EmbeddedCoturn) -> None:
    """What is sent to the terminal is made of UUIDs and digits alone."""
    with pytest.raises(TurnUnavailable):
        await coturn.admin.end_allocations([CallId("x\r\nstop")])

    await coturn.admin.ping()


async def test_a_refused_password_is_said(coturn: EmbeddedCoturn) -> None:
    """And not waited for until something gives way."""
    port = urlsplit(f"//{coturn.access.admin[0]}").port
    assert port is not None
    with pytest.raises(TurnUnavailable, match="refuses the password"):
        await CoturnAdmin("127.0.0.1", port, "wrong").ping()


async def test_a_server_that_is_gone_or_silent_is_said_to_be_away(coturn: EmbeddedCoturn) -> None:
    """Refused connections, and one that is accepted and never answered."""
    admin = coturn.admin
    coturn.pause()
    silent = CoturnAdmin(*_address(admin.name), "any", timeout_s=0.3)
    with pytest.raises(TurnUnavailable, match="TimeoutError"):
        await silent.ping()
    await coturn.kill()
    with pytest.raises(TurnUnavailable):
        await admin.end_allocations([new_call()])


def test_a_listing_is_believed_up_to_the_first_line_that_is_not_coturns() -> None:
    """A kind of line that a later release adds stops the reading too: it may be a client's text."""
    call_id = CallId("0191a2b3-0000-7000-8000-0123456789ab")
    session = f"    1) id=000000000000000001, user <1795263907:{call_id}.a>:\r\n      realm: minuet\r\n"
    others = session.replace("0191a2b3", "0191ffff").replace("001,", "002,")
    end = "\r\n  Total sessions: 1\r\n\r\n> "

    assert read_listing(("\r\n" + session + end).encode(), call_id).whole
    assert read_listing((session + end).encode(), call_id).session_ids == ("000000000000000001",)
    assert not read_listing((session + "      software: mine\r\n" + end).encode(), call_id).whole
    assert not read_listing((others + end).encode(), call_id).whole


def _address(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    return host, int(port)
