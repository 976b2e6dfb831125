"""Accounts, for REST and for commands."""

from contextlib import AsyncExitStack

from accounts.metrics import AccountMetrics
from accounts.passwords import Passwords
from accounts.service import AccountPorts, Accounts
from accounts.tokens import TokenIssuer
from minuet.wiring.foundation import Foundation
from minuet.wiring.hub import Tokens
from minuet.wiring.node import Stores
from storage.redis.rate_limits import RedisLoginGuard


def open_accounts(stack: AsyncExitStack, foundation: Foundation, stores: Stores, tokens: Tokens) -> Accounts:
    """The service, with its hashing threads; `stack` ends those."""
    settings = foundation.settings
    metrics = AccountMetrics(foundation.registry)
    passwords = Passwords(metrics)
    stack.callback(passwords.close)
    return Accounts(
        AccountPorts(
            store=stores.accounts,
            revocations=stores.revocations,
            guard=RedisLoginGuard(foundation.redis, foundation.keys, foundation.ids.new),
            passwords=passwords,
        ),
        TokenIssuer(tokens.ring, tokens.scope, access_s=settings.access_token_s),
        foundation.ids,
        metrics,
        refresh_s=settings.refresh_token_s,
    )
