"""`minuet dev`: everything on this machine, on real embedded servers, in one process."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from minuet.commands.running import settings_from_environment
from minuet.dev_state import Running, announced, kept_secret
from minuet.embedded.servers import embedded_servers
from minuet.settings import Settings, dev_defaults
from minuet.telemetry import configure_logs
from minuet.wiring.roles import Addresses, Parts, run_process
from storage.postgres import migrations

EVERYTHING = Parts(hub=True, matchmaker=True, worker=True)


def add(commands: Any) -> None:
    commands.add_parser(
        "dev", help="everything on this machine, with embedded servers where no URL is given"
    ).set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    settings = settings_from_environment(dev_defaults())
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
            with announced(state_dir, running):
                await run_process(settings, EVERYTHING, own_pages=True, started=_welcome)
    except asyncio.CancelledError:
        pass
    print("minuet: stopped", flush=True)


def _welcome(addresses: Addresses) -> None:
    public = addresses.public or ""
    print(
        "\n"
        f"  Minuet is ready.\n"
        f"\n"
        f"  demo      {public}/   (open it in two tabs)\n"
        f"  REST      {public}/api/v1\n"
        f"  WebSocket {public.replace('http', 'ws', 1)}/v1/ws\n"
        f"  metrics   {addresses.admin}/metrics   health {addresses.admin}/readyz\n"
        f"\n"
        f"  Ctrl-C stops everything.\n",
        flush=True,
    )
