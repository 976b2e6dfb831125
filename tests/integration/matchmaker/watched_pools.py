"""Two who join and are matched, and what tests ask of a pool again and again until it is so."""

from base.ids import CallId, TicketId, UserId
from base.policy import Gender
from matchmaker.activity import InCall
from matchmaker.matches import Match, Progress
from matchmaker.ports import TicketState
from tests.integration.matchmaker.scene import Scene
from tests.unit.matchmaker.people import Somebody

MADE_OLDER = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local first = string.find(stored, '|', 1, true)
local second = string.find(stored, '|', first + 1, true)
local claimed_at = tonumber(string.sub(stored, first + 1, second - 1)) - tonumber(ARGV[2])
local older = string.sub(stored, 1, first) .. string.format('%.0f', claimed_at) .. string.sub(stored, second)
redis.call('HSET', KEYS[1], ARGV[1], older)
"""
"""In one step: the pool's owner works with what is stored at the same time."""
HER, HIM = Somebody("Ann", Gender.FEMALE), Somebody("Bob", Gender.MALE)


async def pair_up(scene: Scene) -> Match:
    """Ann and Bob join and are matched."""
    await scene.join("ann")
    await scene.join("bob")
    (match, *_) = await scene.announcer.next()
    return match


async def age(scene: Scene, match: Match, seconds: float) -> None:
    """Makes a stored match older than it is, so that no test has to wait for that."""
    by_ms = round(seconds * 1000)
    await scene.redis.eval(MADE_OLDER, 1, scene.keys.matches(match.intent), match.call_id, by_ms)


async def is_in_call(scene: Scene, user_id: UserId, call_id: CallId) -> bool:
    return (await scene.activities.read(user_id)).activity == InCall(call_id)


async def is_idle(scene: Scene, user_id: UserId) -> bool:
    return (await scene.activities.read(user_id)).activity is None


async def no_matches(scene: Scene) -> bool:
    return await scene.queues.matches("friends") == []


async def knows_all(scene: Scene) -> bool:
    return all(not record.seats_at(Progress.ANNOUNCED) for record in await scene.queues.matches("friends"))


async def stands(scene: Scene, ticket_id: TicketId, state: TicketState, pool: str = "friends") -> bool:
    return await scene.queues.state(pool, ticket_id) is state


async def owns(scene: Scene) -> bool:
    try:
        return bool(await scene.redis.exists(scene.keys.pool_owner("friends")))
    except OSError:
        return False
