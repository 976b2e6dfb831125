"""`minuet token`: an access token for an account, for scripts and probes."""

import argparse
import asyncio
import secrets
import sys
import time
from typing import Any

from accounts.keys import KeyRing
from accounts.tokens import TokenIssuer, TokenScope
from base.ids import uuid7
from minuet.commands.running import settings_of_a_tool
from minuet.settings import Settings, require
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.pool import open_pool


def add(commands: Any) -> None:
    parser = commands.add_parser("token", help="print an access token for an account")
    parser.add_argument("email", help="the account's e-mail address")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_of_a_tool()
    require(settings, "database_url", "auth_secret")
    return asyncio.run(_issue(settings, options.email))


async def _issue(settings: Settings, email: str) -> int:
    pool = await open_pool(str(settings.database_url), max_size=1, name="minuet-token")
    try:
        credentials = await PostgresAccounts(pool).credentials(email)
    finally:
        await pool.close()
    if credentials is None:
        print(f"minuet: no account has the address {email}", file=sys.stderr)
        return 1
    now_ms = time.time_ns() // 1_000_000
    issuer = TokenIssuer(
        KeyRing.parse(str(settings.auth_secret)),
        TokenScope(settings.auth_issuer, settings.auth_audience),
        access_s=settings.access_token_s,
    )
    family, token_id = (uuid7(now_ms, secrets.token_bytes(10)) for _ in range(2))
    print(issuer.issue(credentials.user, family, token_id, now_ms).token)
    return 0
