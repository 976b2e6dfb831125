"""`minuet create-admin`: gives an account the right to watch and moderate."""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Any

from accounts.model import Role
from accounts.service import NoSuchAccount
from minuet.commands.running import settings_of_a_tool
from minuet.settings import Settings
from minuet.telemetry import configure_logs
from minuet.wiring.accounts import open_accounts
from minuet.wiring.foundation import open_foundation
from minuet.wiring.hub import open_tokens
from minuet.wiring.node import open_stores


def add(commands: Any) -> None:
    parser = commands.add_parser("create-admin", help="make a registered account an administrator")
    parser.add_argument("email", help="the account's e-mail address")
    parser.add_argument("--role", choices=[role.value for role in Role], default=Role.ADMIN.value)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_of_a_tool()
    configure_logs(settings)
    return asyncio.run(_appoint(settings, options.email, Role(options.role)))


async def _appoint(settings: Settings, email: str, role: Role) -> int:
    async with AsyncExitStack() as stack:
        foundation = await open_foundation(stack, settings, "create-admin")
        accounts = open_accounts(stack, foundation, open_stores(foundation), open_tokens(foundation))
        try:
            user = await accounts.appoint(email, role)
        except NoSuchAccount:
            print(f"minuet: no account has the address {email}; register it first", file=sys.stderr)
            return 1
    print(f"{user.email} is {user.role.value}; its tokens of before are void, so sign in again")
    return 0
