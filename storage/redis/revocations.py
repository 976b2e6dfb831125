"""Which access tokens are void. Fits `accounts.ports.RevocationLog` and `rest.ports.Revocations`.

Two places: the user's hash answers "is this token void" with one HMGET; the log tells every node whose sockets to
close, each node with a cursor of its own. The hash is written first, so that whoever hears of it can also read it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from accounts.model import Identity, Revocation, RevokeReason, Standing
from accounts.tokens import ACCESS_S, CLOCK_SKEW_MS
from base.errors import Unavailable
from storage.redis.client import UNAVAILABLE_ERRORS, load_script
from storage.redis.keys import Keys

RETRY_AFTER_MS = 1_000
# Nodes read twice a second; this is minutes of the worst imaginable crowd, and about 20 MB.
LOG_LENGTH = 100_000
FAMILIES_A_USER = 64
RESTORED_AT_ONCE = 200
START = "0-0"


class RedisRevocations:
    """The list and the log. `access_s` is how long an access token lives."""

    def __init__(self, redis: Redis, keys: Keys, *, access_s: int = ACCESS_S) -> None:
        self._redis = redis
        self._keys = keys
        self._keep_ms = access_s * 1000 + CLOCK_SKEW_MS
        self._revoke_user = load_script(redis, "revoke_user")
        self._revoke_family = load_script(redis, "revoke_family")

    async def revoke_user(self, user_id: str, before_ms: int, reason: RevokeReason) -> None:
        """Void what was issued to the user before a moment; repeating it does no harm.

        Raises:
            Unavailable: Redis is away; it may or may not have taken effect.
        """
        try:
            await self._revoke_user(keys=[self._keys.user(user_id)], args=[before_ms])
            await self._append(Revocation(user_id, None, before_ms, reason))
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error

    async def revoke_family(self, user_id: str, family_id: str, now_ms: int, reason: RevokeReason) -> None:
        """Void what was issued in one sign-in; repeating it does no harm.

        Raises:
            Unavailable: Redis is away; it may or may not have taken effect.
        """
        try:
            kept = await self._revoke_family(
                keys=[self._keys.user(user_id)], args=[family_id, self._keep_ms, FAMILIES_A_USER]
            )
            await self._append(Revocation(user_id, family_id if kept else None, now_ms, reason))
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error

    async def restore(self, entries: Sequence[Revocation]) -> None:
        """Void again what the store may have lost that it was void; the log is left alone. Repeating it does no harm.

        Raises:
            Unavailable: Redis is away; some of it may have taken effect.
        """
        try:
            for start in range(0, len(entries), RESTORED_AT_ONCE):
                await asyncio.gather(*map(self._restore, entries[start : start + RESTORED_AT_ONCE]))
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error

    async def _restore(self, entry: Revocation) -> None:
        keys = [self._keys.user(entry.user_id)]
        if entry.family_id is None:
            await self._revoke_user(keys=keys, args=[entry.before_ms])
        else:
            await self._revoke_family(keys=keys, args=[entry.family_id, self._keep_ms, FAMILIES_A_USER])

    async def is_revoked(self, identity: Identity) -> bool:
        """Whether a token that is in order otherwise was taken back.

        Raises:
            Unavailable: Redis is away, so nobody knows.
        """
        return await self.standing(identity) is Standing.REVOKED

    async def standing(self, identity: Identity) -> Standing:
        """As `is_revoked`; and whether the user is known here at all, or perhaps not any more.

        Raises:
            Unavailable: Redis is away, so nobody knows.
        """
        try:
            before, family, known = await self._redis.hmget(
                self._keys.user(identity.user_id),
                ["revoked_before", f"revoked:{identity.family_id}", "blocks_known"],
            )
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error
        # The time beside a family only says when to forget it; ids of families are never used again.
        if family is not None or (before is not None and identity.issued_at_ms < int(before)):
            return Standing.REVOKED
        return Standing.UNKNOWN if known is None else Standing.GOOD

    async def tail(self) -> str:
        """The cursor of the log's end as of now.

        Raises:
            Unavailable: Redis is away.
        """
        try:
            last: Any = await self._redis.xrevrange(self._keys.revocations(), count=1)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error
        return last[0][0].decode() if last else START

    async def read_since(self, cursor: str, *, count: int = 1_000) -> tuple[str, list[Revocation]]:
        """Entries after a cursor, oldest first, and the cursor after them. Fewer than `count`: that was all.

        Raises:
            Unavailable: Redis is away; read again from the same cursor.
        """
        try:
            found: Any = await self._redis.xrange(self._keys.revocations(), min=f"({cursor}", count=count)
        except UNAVAILABLE_ERRORS as error:
            raise Unavailable(retry_after_ms=RETRY_AFTER_MS) from error
        if not found:
            return cursor, []
        return found[-1][0].decode(), [_entry(fields) for _, fields in found]

    async def _append(self, entry: Revocation) -> None:
        fields: dict[Any, Any] = {
            "user": entry.user_id,
            "before_ms": entry.before_ms,
            "reason": entry.reason,
        }
        if entry.family_id is not None:
            fields["family"] = entry.family_id
        await self._redis.xadd(self._keys.revocations(), fields, maxlen=LOG_LENGTH, approximate=True)


def _entry(fields: dict[bytes, bytes]) -> Revocation:
    family = fields.get(b"family")
    return Revocation(
        user_id=fields[b"user"].decode(),
        family_id=None if family is None else family.decode(),
        before_ms=int(fields[b"before_ms"]),
        reason=fields[b"reason"].decode(),
    )
