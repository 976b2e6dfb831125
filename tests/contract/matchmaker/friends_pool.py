"""The pool of `friends`, its owner, and Ann, Bob and Eve, who queue there in the tests of the store."""

import msgspec

from base.ids import CallId, UserId
from base.policy import Gender
from matchmaker.matches import Match, seated
from matchmaker.ports import Lease, PoolEvent, TicketState
from matchmaker.ticket import Ticket
from storage.redis.queues import RedisQueues
from tests.unit.matchmaker.people import ticket_of

POOL = "friends"
ANN = ticket_of("ann", queued_at=1_000, side=Gender.FEMALE, languages=frozenset({"en", "de"}), region="eu")
BOB = ticket_of("bob", queued_at=2_000, side=Gender.MALE, exclusions=frozenset({UserId("carl")}))
EVE = ticket_of("eve", queued_at=3_000)
TTL_MS = 60_000


def match_of(a: Ticket, b: Ticket, call: str = "call-1") -> Match:
    return Match(call_id=CallId(call), intent=POOL, claimed_at_ms=0, a=seated(a), b=seated(b))


async def owner(queues: RedisQueues) -> Lease:
    return await queues.take_lease(POOL, "nonce", ttl_ms=TTL_MS)


async def claimed(queues: RedisQueues, call: str = "call-1") -> Match:
    """Ann and Bob, matched."""
    await queues.put(ANN)
    await queues.put(BOB)
    match = match_of(ANN, BOB, call)
    reply = await queues.claim(POOL, (await owner(queues)).token, [match])
    assert [claim.lost for claim in reply.claims] == [frozenset()]
    return msgspec.structs.replace(match, claimed_at_ms=reply.now_ms)


async def heard(queues: RedisQueues, cursor: str = "0-0") -> list[PoolEvent]:
    batch = await queues.events(POOL, cursor, limit=100, block_ms=10)
    return [event for _, event in batch.events]


async def standing(queues: RedisQueues, *tickets: Ticket) -> list[TicketState]:
    return [await queues.state(POOL, ticket.ticket_id) for ticket in tickets]
