"""`minuet migrate up|status`: the database's schema."""

import argparse
import asyncio
from typing import Any

from minuet.commands.running import settings_of_a_tool
from minuet.settings import require
from storage.postgres import migrations


def add(commands: Any) -> None:
    parser = commands.add_parser("migrate", help="bring the database to this release's schema")
    parser.add_argument("what", choices=("up", "status"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_of_a_tool()
    require(settings, "database_url")
    url = str(settings.database_url)
    if options.what == "up":
        applied = asyncio.run(migrations.migrate(url))
        for migration in applied:
            print(f"applied {migration.label}")
        print("up to date")
        return 0
    status = asyncio.run(migrations.status(url))
    for migration in status.pending:
        print(f"pending {migration.label}")
    if not status.pending:
        print("up to date")
    return 1 if status.pending else 0
