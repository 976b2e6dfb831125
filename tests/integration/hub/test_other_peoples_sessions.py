"""A session is resumed by its own user on its own device, on whichever node; nobody else learns even that it is there."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from loadtests.swarm.client import Client, Message
from tests.fixtures.deployment import Lasting, People


@dataclass(frozen=True)
class TwoHubs:
    """Where the two listen."""

    hers: str
    other: str


@pytest.fixture(scope="module")
def hubs(lasting: Lasting) -> Iterator[TwoHubs]:
    with lasting("serve", "serve") as deployment:
        yield TwoHubs(*(process.public for process in deployment.processes))


async def resume_as(client: Client, token: str, session_id: str) -> Message:
    """Asks for a session as if it were the client's own, from its beginning."""
    client.session_id, client.wire.last_seq = session_id, 0
    client.wire.next_id()
    answer = await client.resume(token)
    # What differs for everybody.
    hidden = dict.fromkeys(("session_id", "user_id", "server_now", "token_expires_at"))
    return {**answer["data"], **hidden, "type": answer["type"]}


@pytest.mark.parametrize("at_hers", [True, False])
async def test_another_user_gets_a_session_of_their_own(hubs: TwoHubs, people: People, at_hers: bool) -> None:
    """With her session's id, and with her device's too: the same answer as for a session that never was."""
    her = await people.online(hubs.hers)
    url = hubs.hers if at_hers else hubs.other
    answers = []
    for session_id, device_id in (
        (her.session_id, None),
        (her.session_id, her.device_id),
        (str(uuid.uuid4()), None),
    ):
        account = await people.account(url, "female")
        stranger = people.client(url, device_id=device_id)
        answers.append(await resume_as(stranger, account["access_token"], session_id))
    still = await her.request("presence.set", {"away": False})

    assert [answer["type"] for answer in answers] == ["session.ready"] * 3
    assert answers[0] == answers[1] == answers[2]
    assert still["away"] is False


@pytest.mark.parametrize("at_hers", [True, False])
async def test_another_device_of_hers_gets_a_session_of_its_own(
    hubs: TwoHubs, people: People, at_hers: bool
) -> None:
    """The session that it named goes on where it is."""
    her = await people.online(hubs.hers)
    tablet = people.client(hubs.hers if at_hers else hubs.other)
    answer = await resume_as(tablet, her.account["access_token"], her.session_id)
    still = await her.request("presence.set", {"away": False})

    assert answer["type"] == "session.ready"
    assert still["away"] is False
    assert not [message for message in her.inbox if message["type"] == "session.superseded"]
