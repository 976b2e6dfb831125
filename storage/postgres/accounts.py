"""Users, sign-ins and refresh tokens in PostgreSQL. Fits `accounts.ports.AccountStore`."""

# ruff: noqa: S608  the statements are put together from constants of this file only

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg

from accounts.model import (
    Credentials,
    Device,
    NewFamily,
    NewToken,
    ProfileChange,
    Revocation,
    RevokeReason,
    Role,
    SignIn,
    User,
)
from accounts.ports import NotRotated, Rotated, RotationRefusal
from base.gathering import Gathering
from base.policy import Gender
from storage.postgres.pool import acquire, transaction
from storage.postgres.times import milliseconds, milliseconds_or_none, moment

USER_COLUMNS = """
u.id, u.email, u.email_verified_at, u.role, u.first_name, u.gender, u.birth_date, u.languages, u.region, u.locale,
u.terms_version, u.privacy_version, u.created_at, u.updated_at, u.banned_at, u.revoked_before
"""

# Making them of their rows blocks the event loop, which has frames to relay.
_PEOPLE_AT_ONCE = 64


class PostgresAccounts:
    """One statement or one transaction a method; people who are asked for at the same moment share a statement."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._people: Gathering[UUID, User] = Gathering(
            self._users, of_at_most=_PEOPLE_AT_ONCE, within_s=timeout_s
        )

    INSERT_USER = """
    INSERT INTO accounts.users (
        id, email, role, first_name, gender, birth_date, languages, region, locale, terms_version,
        privacy_version, created_at, updated_at, password_hash
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)
    ON CONFLICT (lower(email)) WHERE deleted_at IS NULL DO NOTHING
    RETURNING id
    """

    async def register(self, user: User, password_hash: str, family: NewFamily) -> bool:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            stored = await connection.fetchval(
                self.INSERT_USER,
                user.id,
                user.email,
                user.role,
                user.first_name,
                user.gender,
                user.birth_date,
                list(user.languages),
                user.region,
                user.locale,
                user.terms_version,
                user.privacy_version,
                moment(user.created_at),
                password_hash,
            )
            if stored is None:
                return False
            await self._insert_family(connection, family)
        return True

    SELECT_USERS = (
        f"SELECT {USER_COLUMNS} FROM accounts.users u WHERE u.id = ANY($1::uuid[]) AND u.deleted_at IS NULL"
    )

    async def user(self, user_id: str) -> User | None:
        return await self._people.ask(UUID(user_id))

    async def _users(self, user_ids: Sequence[UUID]) -> Mapping[UUID, User]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.SELECT_USERS, list(user_ids))
        return {row["id"]: _user(row) for row in rows}

    SELECT_CREDENTIALS = f"""
    SELECT {USER_COLUMNS}, u.password_hash
    FROM accounts.users u
    WHERE lower(u.email) = lower($1) AND u.deleted_at IS NULL
    """

    async def credentials(self, email: str) -> Credentials | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            row = await connection.fetchrow(self.SELECT_CREDENTIALS, email)
        return None if row is None else Credentials(_user(row), row["password_hash"])

    UPDATE_PASSWORD = "UPDATE accounts.users SET password_hash = $3 WHERE id = $1 AND password_hash = $2"  # noqa: S105  SQL

    async def set_password_hash(self, user_id: str, old_hash: str, new_hash: str) -> None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            await connection.execute(self.UPDATE_PASSWORD, user_id, old_hash, new_hash)

    UPDATE_PROFILE = f"""
    UPDATE accounts.users u
    SET first_name = $2, languages = $3, region = $4, locale = $5, updated_at = $6
    WHERE u.id = $1 AND u.deleted_at IS NULL
    RETURNING {USER_COLUMNS}
    """

    async def change_profile(self, user_id: str, change: ProfileChange, now_ms: int) -> User | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            row = await connection.fetchrow(
                self.UPDATE_PROFILE,
                user_id,
                change.first_name,
                list(change.languages),
                change.region,
                change.locale,
                moment(now_ms),
            )
        return None if row is None else _user(row)

    UPDATE_ROLE = f"""
    UPDATE accounts.users u
    SET role = $2, updated_at = $3
    WHERE lower(u.email) = lower($1) AND u.deleted_at IS NULL
    RETURNING {USER_COLUMNS}
    """

    async def set_role(self, email: str, role: Role, now_ms: int) -> User | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            row = await connection.fetchrow(self.UPDATE_ROLE, email, role, moment(now_ms))
        return None if row is None else _user(row)

    async def start_family(self, family: NewFamily) -> None:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            await self._insert_family(connection, family)

    INSERT_FAMILY = """
    INSERT INTO accounts.token_families (id, user_id, device_id, device_name, created_at, last_used_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $5, $6)
    """

    INSERT_TOKEN = """
    INSERT INTO accounts.refresh_tokens (token_hash, family_id, issued_at, expires_at)
    VALUES ($1, $2, $3, $4)
    """  # noqa: S105  SQL

    async def _insert_family(
        self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", family: NewFamily
    ) -> None:
        await connection.execute(
            self.INSERT_FAMILY,
            family.id,
            family.user_id,
            family.device.id,
            family.device.name,
            moment(family.token.issued_at),
            moment(family.token.expires_at),
        )
        await self._insert_token(connection, family.id, family.token)

    async def _insert_token(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]",
        family_id: str,
        token: NewToken,
    ) -> None:
        await connection.execute(
            self.INSERT_TOKEN,
            token.token_hash,
            family_id,
            moment(token.issued_at),
            moment(token.expires_at),
        )

    # Both rows stay locked until the commit: whoever presents the same token meanwhile waits here, then reads it
    # as used; whoever signs the family out waits too, and then finds no token that slipped through.
    LOCK_TOKEN = f"""
    SELECT t.family_id, t.expires_at AS token_expires_at, t.used_at, f.revoked_at, u.deleted_at, {USER_COLUMNS}
    FROM accounts.refresh_tokens t
    JOIN accounts.token_families f ON f.id = t.family_id
    JOIN accounts.users u ON u.id = f.user_id
    WHERE t.token_hash = $1
    FOR UPDATE OF t, f
    """

    USE_TOKEN = "UPDATE accounts.refresh_tokens SET used_at = $2 WHERE token_hash = $1"  # noqa: S105  SQL

    PROLONG_FAMILY = """
    UPDATE accounts.token_families SET last_used_at = $2, expires_at = $3 WHERE id = $1
    """

    async def rotate(self, token_hash: bytes, successor: NewToken, now_ms: int) -> Rotated | NotRotated:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            row = await connection.fetchrow(self.LOCK_TOKEN, token_hash)
            if row is None or row["deleted_at"] is not None:
                return NotRotated(RotationRefusal.UNKNOWN)
            refusal = _refusal(row, now_ms)
            family_id = str(row["family_id"])
            if refusal is RotationRefusal.REUSED:
                await connection.execute(self.REVOKE_FAMILY, family_id, moment(now_ms), RevokeReason.REUSE)
            if refusal is not None:
                return NotRotated(refusal, str(row["id"]), family_id)
            await connection.execute(self.USE_TOKEN, token_hash, moment(now_ms))
            await self._insert_token(connection, family_id, successor)
            await connection.execute(
                self.PROLONG_FAMILY, family_id, moment(now_ms), moment(successor.expires_at)
            )
        return Rotated(_user(row), family_id)

    REVOKE_FAMILY = """
    UPDATE accounts.token_families SET revoked_at = $2, revoke_reason = $3 WHERE id = $1 AND revoked_at IS NULL
    """

    async def revoke_family(self, family_id: str, reason: RevokeReason, now_ms: int) -> None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            await connection.execute(self.REVOKE_FAMILY, family_id, moment(now_ms), reason)

    SET_REVOKED_BEFORE = """
    UPDATE accounts.users SET revoked_before = greatest(revoked_before, $2) WHERE id = $1
    """

    REVOKE_FAMILIES = """
    UPDATE accounts.token_families SET revoked_at = $2, revoke_reason = $3 WHERE user_id = $1 AND revoked_at IS NULL
    """

    async def revoke_all(self, user_id: str, reason: RevokeReason, before_ms: int) -> None:
        async with transaction(self._pool, timeout_s=self._timeout_s) as connection:
            # Families first: a refresh locks its family too, and two orders would meet in a deadlock.
            await connection.execute(self.REVOKE_FAMILIES, user_id, moment(before_ms), reason)
            await connection.execute(self.SET_REVOKED_BEFORE, user_id, moment(before_ms))

    SELECT_SIGN_INS = """
    SELECT id, device_id, device_name, created_at, last_used_at, expires_at
    FROM accounts.token_families
    WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
    ORDER BY last_used_at DESC, id
    LIMIT 100
    """

    async def sign_ins(self, user_id: str, now_ms: int) -> list[SignIn]:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.SELECT_SIGN_INS, user_id, moment(now_ms))
        return [
            SignIn(
                id=str(row["id"]),
                device=Device(row["device_id"], row["device_name"]),
                created_at=milliseconds(row["created_at"]),
                last_used_at=milliseconds(row["last_used_at"]),
                expires_at=milliseconds(row["expires_at"]),
            )
            for row in rows
        ]

    # What a ban or a sign-out everywhere took back is in one row; its families need no rows of their own.
    SELECT_REVOKED_SINCE = """
    SELECT u.id AS user_id, NULL::uuid AS family_id, greatest(u.revoked_before, u.banned_at) AS before,
        CASE WHEN u.banned_at IS NULL THEN 'logout_all' ELSE 'ban' END AS reason
    FROM accounts.users u
    WHERE u.revoked_before > $1 OR u.banned_at > $1
    UNION ALL
    SELECT f.user_id, f.id, f.revoked_at, f.revoke_reason
    FROM accounts.token_families f
    WHERE f.revoked_at > $1 AND f.revoke_reason NOT IN ('logout_all', 'ban')
    """

    async def revoked_since(self, since_ms: int) -> list[Revocation]:
        """All that was taken back since then: what the store has to know of tokens issued before."""
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            rows = await connection.fetch(self.SELECT_REVOKED_SINCE, moment(since_ms))
        return [
            Revocation(
                user_id=str(row["user_id"]),
                family_id=None if row["family_id"] is None else str(row["family_id"]),
                before_ms=milliseconds(row["before"]),
                reason=row["reason"],
            )
            for row in rows
        ]

    # A family after its tokens: with those of a month there would be thousands of rows behind each.
    PURGE = """
    WITH families AS (
        DELETE FROM accounts.token_families WHERE id IN (
            SELECT f.id FROM accounts.token_families f
            WHERE f.expires_at < $1
                AND NOT EXISTS (SELECT FROM accounts.refresh_tokens t WHERE t.family_id = f.id)
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    ), tokens AS (
        DELETE FROM accounts.refresh_tokens WHERE token_hash IN (
            SELECT token_hash FROM accounts.refresh_tokens WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    )
    SELECT (SELECT count(*) FROM families) + (SELECT count(*) FROM tokens)
    """

    async def purge_expired(self, now_ms: int, limit: int) -> int:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            gone: int = await connection.fetchval(self.PURGE, moment(now_ms), limit)
        return gone


def _refusal(row: asyncpg.Record, now_ms: int) -> RotationRefusal | None:
    if row["revoked_at"] is not None:
        return RotationRefusal.REVOKED
    if row["used_at"] is not None:
        return RotationRefusal.REUSED
    if row["token_expires_at"] <= moment(now_ms):
        return RotationRefusal.EXPIRED
    return RotationRefusal.BANNED if row["banned_at"] is not None else None


def _user(row: asyncpg.Record) -> User:
    return User(
        id=str(row["id"]),
        email=row["email"],
        email_verified_at=milliseconds_or_none(row["email_verified_at"]),
        role=Role(row["role"]),
        first_name=row["first_name"],
        gender=Gender(row["gender"]),
        birth_date=row["birth_date"],
        languages=tuple(row["languages"]),
        region=row["region"],
        locale=row["locale"],
        terms_version=row["terms_version"],
        privacy_version=row["privacy_version"],
        created_at=milliseconds(row["created_at"]),
        updated_at=milliseconds(row["updated_at"]),
        banned_at=milliseconds_or_none(row["banned_at"]),
        revoked_before=milliseconds_or_none(row["revoked_before"]),
    )
