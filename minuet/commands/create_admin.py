"""`minuet create-admin`: gives an account the right to watch and moderate."""

import argparse
import asyncio
import sys
import time
from typing import Any

from accounts.model import Role
from minuet.commands.running import settings_from_environment
from minuet.settings import require
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.pool import open_pool


def add(commands: Any) -> None:
    parser = commands.add_parser("create-admin", help="make a registered account an administrator")
    parser.add_argument("email", help="the account's e-mail address")
    parser.add_argument("--role", choices=[role.value for role in Role], default=Role.ADMIN.value)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_from_environment()
    require(settings, "database_url")
    return asyncio.run(_set_role(str(settings.database_url), options.email, Role(options.role)))


async def _set_role(database_url: str, email: str, role: Role) -> int:
    pool = await open_pool(database_url, max_size=1, name="minuet-create-admin")
    try:
        user = await PostgresAccounts(pool).set_role(email, role, time.time_ns() // 1_000_000)
    finally:
        await pool.close()
    if user is None:
        print(f"minuet: no account has the address {email}; register it first", file=sys.stderr)
        return 1
    print(f"{email} is {user.role.value}; it takes effect at the next sign-in")
    return 0
