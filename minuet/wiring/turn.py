"""The TURN servers, as a process deals with them: their admin interfaces, and whether they answer."""

import asyncio
from collections.abc import Sequence

from minuet.settings import Settings
from minuet.turn import admin_addresses
from storage.coturn import CoturnAdmin
from storage.redis.turn_visits import RedisTurnVisits

OVERDUE_MS = 60_000
"""So long after a call its allocations are ended, whatever goes wrong for a moment; else nobody does it."""


class TurnNotConfigured(Exception):
    """There is no TURN server: clients are given STUN servers only, and learn each other's addresses."""


class AllocationsNotEnded(Exception):
    """No worker ends what calls that are over hold at the TURN servers: `turn_admin` is set for none of them."""


def turn_admins(settings: Settings) -> list[CoturnAdmin]:
    """Raises: InvalidSettings."""
    return [
        CoturnAdmin(host, port, str(settings.turn_admin_password)) for host, port in admin_addresses(settings)
    ]


async def check_turn(settings: Settings, admins: Sequence[CoturnAdmin], visits: RedisTurnVisits) -> None:
    """Raises: what is missing; TurnUnavailable where a server's admin interface does not answer this process."""
    if not (settings.turn_urls or admins):
        raise TurnNotConfigured
    await asyncio.gather(*(admin.ping() for admin in admins))
    # Only workers beside the TURN server may be able to reach its admin interface; whether they do it, all can see.
    if await visits.overdue_ms() > OVERDUE_MS:
        raise AllocationsNotEnded
