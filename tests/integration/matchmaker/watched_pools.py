"""Two who join and are matched, and what tests ask of a pool again and again until it is so."""

from base.ids import CallId, UserId
from base.policy import Gender
from matchmaker.activity import InCall
from matchmaker.matches import Match, Progress
from matchmaker.ports import TicketState
from tests.integration.matchmaker.scene import Scene
from tests.unit.matchmaker.people import Somebody

HER, HIM = Somebody("Ann", Gender.FEMALE), Somebody("Bob", Gender.MALE)


async def pair_up(scene: Scene) -> Match:
    """Ann and Bob join and are matched."""
    await scene.join("ann")
    await scene.join("bob")
    (match, *_) = await scene.announcer.next()
    return match


async def age(scene: Scene, match: Match, seconds: float) -> None:
    """Makes a stored match older than it is, so that no test has to wait for that."""
    stored = await scene.redis.hget(scene.keys.matches(match.intent), match.call_id)
    progress, claimed_at, rest = stored.split(b"|", 2)
    older = str(int(claimed_at) - round(seconds * 1000)).encode()
    await scene.redis.hset(
        scene.keys.matches(match.intent), match.call_id, b"|".join((progress, older, rest))
    )


async def is_in_call(scene: Scene, user_id: UserId, call_id: CallId) -> bool:
    return (await scene.activities.read(user_id)).activity == InCall(call_id)


async def is_idle(scene: Scene, user_id: UserId) -> bool:
    return (await scene.activities.read(user_id)).activity is None


async def no_matches(scene: Scene) -> bool:
    return await scene.queues.matches("friends") == []


async def knows_all(scene: Scene) -> bool:
    return all(not record.seats_at(Progress.ANNOUNCED) for record in await scene.queues.matches("friends"))


async def stands(scene: Scene, ticket_id: str, state: TicketState) -> bool:
    return await scene.queues.state("friends", ticket_id) is state


async def owns(scene: Scene) -> bool:
    try:
        return bool(await scene.redis.exists(scene.keys.pool_owner("friends")))
    except OSError:
        return False
