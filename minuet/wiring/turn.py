"""The TURN servers, as a process deals with them: their admin interfaces, and whether they answer."""

import asyncio
from collections.abc import Sequence

from minuet.settings import Settings
from minuet.turn import admin_addresses
from storage.coturn import CoturnAdmin

ENDS_ALLOCATIONS = ("worker", "all-in-one")
"""The roles of processes that end the allocations of calls that are over."""


class TurnNotConfigured(Exception):
    """There is no TURN server: clients are given STUN servers only, and learn each other's addresses."""


class TurnAdminNotConfigured(Exception):
    """This process is to end allocations of calls that are over, and was not told where."""


def turn_admins(settings: Settings) -> list[CoturnAdmin]:
    """Raises: InvalidSettings."""
    return [
        CoturnAdmin(host, port, str(settings.turn_admin_password)) for host, port in admin_addresses(settings)
    ]


async def check_turn(settings: Settings, admins: Sequence[CoturnAdmin], *, ends_allocations: bool) -> None:
    """Raises: what is missing; TurnUnavailable where a server's admin interface does not answer."""
    if not (settings.turn_urls or admins):
        raise TurnNotConfigured
    if ends_allocations and not admins:
        raise TurnAdminNotConfigured
    await asyncio.gather(*(admin.ping() for admin in admins))
