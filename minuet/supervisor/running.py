"""`minuet serve --workers N` from its start to its end: doors, admin port, supervisor."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
import structlog

from base.clock import SystemClock
from minuet.settings import Settings
from minuet.supervisor.admin import answers, supervisor_app
from minuet.supervisor.doors import open_doors
from minuet.supervisor.metrics import SupervisorMetrics
from minuet.supervisor.supervisor import Supervisor
from minuet.telemetry import new_registry
from minuet.wiring.listening import Listening, listen, serve_app
from minuet.wiring.roles import Addresses

logger = structlog.get_logger(__name__)


async def supervise(
    settings: Settings, workers: int, arguments: Sequence[str], started: Callable[[Addresses], None]
) -> int:
    """Serves with `workers` processes of `minuet <arguments>` until told to stop. The exit status.

    Raises: OSError where a port is taken.
    """
    async with AsyncExitStack() as stack:
        doors = open_doors(settings.host, settings.port, workers)
        for door in doors:
            stack.callback(door.close)
        admin = listen(settings.admin_host, settings.admin_port)
        addresses = Addresses(Listening(doors[0]).url, admin.url)
        registry = new_registry("supervisor")
        http = await stack.enter_async_context(aiohttp.ClientSession())
        supervisor = Supervisor(
            arguments,
            doors,
            SystemClock(),
            SupervisorMetrics(registry),
            ask=partial(answers, http),
            notice_s=settings.drain_notice_s,
        )
        await serve_app(stack, supervisor_app(supervisor, registry, http), admin)
        logger.info("supervising", workers=workers, public=addresses.public, admin=addresses.admin)

        def tell() -> None:
            started(addresses)

        return await supervisor.run(tell)
