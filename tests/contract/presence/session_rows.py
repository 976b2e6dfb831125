"""Sessions that are let in, and the rows that they have then."""

from collections.abc import Callable

from presence.sessions import Registered, Registration, SessionRow
from storage.redis.presence import RedisSessions

Make = Callable[..., Registration]


async def register(sessions: RedisSessions, wanted: Registration) -> Registered:
    answer = await sessions.register(wanted, max_devices=3)
    assert isinstance(answer, Registered)
    return answer


def row(of: Registration, generation: int) -> SessionRow:
    return SessionRow(of.device_id, of.node_id, of.session_id, generation)
