"""`minuet dev`: everything on this machine, on real embedded servers, in one process."""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from base.policy import IpPrivacy
from minuet.commands.flags import add_redis_flags
from minuet.commands.running import settings_from_environment
from minuet.dev_state import Running, announced, kept_secret
from minuet.embedded.coturn import TurnAccess, coturn_if_there_is
from minuet.embedded.errors import EmbeddedServerError
from minuet.embedded.servers import embedded_servers
from minuet.settings import InvalidSettings, Settings, dev_defaults
from minuet.telemetry import configure_logs
from minuet.wiring.roles import Addresses, Parts, run_process
from storage.postgres import migrations

EVERYTHING = Parts(hub=True, matchmaker=True, worker=True)


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "dev", help="everything on this machine, with embedded servers where no URL is given"
    )
    add_redis_flags(parser)
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    settings = settings_from_environment(dev_defaults())
    if settings.redis_cluster and settings.redis_url is None:
        raise InvalidSettings("redis_cluster: the embedded server is none; name yours in redis_url")
    configure_logs(settings)
    uvloop.run(_dev(settings, Path(settings.state_dir).resolve()))
    return 0


async def _dev(settings: Settings, state_dir: Path) -> None:
    # A Ctrl-C while the servers start must stop them in order too, as one during the service does.
    me = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, me.cancel if me is not None else sys.exit)
    print(f"minuet: starting, data in {state_dir}", flush=True)
    try:
        async with embedded_servers(
            state_dir, redis_url=settings.redis_url, database_url=settings.database_url
        ) as servers:
            running = Running(
                redis_url=servers.redis_url,
                database_url=servers.database_url,
                auth_secret=settings.auth_secret or kept_secret(state_dir),
            )
            await migrations.migrate(running.database_url)
            settings = msgspec.structs.replace(settings, **msgspec.structs.asdict(running))
            async with turn_server(settings, state_dir) as (settings, privacy):
                with announced(state_dir, running):
                    welcome = partial(_welcome, privacy)
                    await run_process(settings, EVERYTHING, own_pages=True, started=welcome)
    except asyncio.CancelledError:
        pass
    print("minuet: stopped", flush=True)


@asynccontextmanager
async def turn_server(settings: Settings, state_dir: Path) -> AsyncIterator[tuple[Settings, str]]:
    """The settings with a TURN server of our own where none is named and one can help; and what that means."""
    if settings.turn_urls:
        yield settings, "as the settings say"
    elif all(policy.ip_privacy is IpPrivacy.OFF for policy in settings.intents.values()):
        yield settings, "off, as the settings say"
    elif settings.host not in ("127.0.0.1", "localhost"):
        yield (
            settings,
            f"off: clients of {settings.host} could not reach a coturn on 127.0.0.1 (name yours: MINUET_TURN_URLS)",
        )
    else:
        async with coturn_if_there_is(state_dir) as found:
            if isinstance(found, EmbeddedServerError):
                yield settings, f"off: {found}"
            else:
                yield with_turn(settings, found), "on: calls go over coturn, nobody learns an address"


def with_turn(settings: Settings, access: TurnAccess) -> Settings:
    """The settings with this TURN server."""
    return msgspec.structs.replace(
        settings,
        turn_urls=access.urls,
        turn_secret=access.secret,
        turn_relay_addresses=access.relay_addresses,
        turn_relay_ports=access.relay_ports,
        turn_admin=access.admin,
        turn_admin_password=access.admin_password,
    )


def _welcome(privacy: str, addresses: Addresses) -> None:
    public = addresses.public or ""
    print(
        "\n"
        f"  Minuet is ready.\n"
        f"\n"
        f"  demo      {public}/   (open it in two tabs)\n"
        f"  REST      {public}/api/v1\n"
        f"  WebSocket {public.replace('http', 'ws', 1)}/v1/ws\n"
        f"  metrics   {addresses.admin}/metrics   health {addresses.admin}/readyz\n"
        f"  privacy   {privacy}\n"
        f"\n"
        f"  Ctrl-C stops everything.\n",
        flush=True,
    )
