"""What a worker deletes when it has been kept for long enough, and for how long that is by the settings."""

import asyncpg

from jobs.ports import Expired, Kept
from minuet.settings import Settings
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.consent import PostgresConsentLogs
from storage.postgres.ended_connections import PostgresEndedConnections
from storage.postgres.retention import (
    PURGE_AUDIT_LOG,
    PURGE_CALLS,
    PURGE_FEEDBACK,
    PURGE_REMOVED_BLOCKS,
    PURGE_REPORTS,
    REMOVED_BLOCKS_KEPT_MS,
    PostgresRetention,
)

_DAY_MS = 86_400_000


def kept_for_a_time(
    settings: Settings, database: "asyncpg.Pool[asyncpg.Record]", accounts: PostgresAccounts
) -> dict[Kept, Expired]:
    """Where each kind runs out; a kind whose setting is 0 is kept for good and left out."""
    stores: dict[Kept, Expired] = {
        Kept.SIGN_INS: accounts,
        # Before the calls: a call goes after its log.
        Kept.CONSENT_LOGS: PostgresConsentLogs(database, kept_ms=settings.consent_kept_days * _DAY_MS),
        Kept.ENDED_CONNECTIONS: PostgresEndedConnections(database),
        Kept.REMOVED_BLOCKS: PostgresRetention(
            database, PURGE_REMOVED_BLOCKS, kept_ms=REMOVED_BLOCKS_KEPT_MS
        ),
    }
    for kind, statement, days in (
        (Kept.CALLS, PURGE_CALLS, settings.history_kept_days),
        (Kept.FEEDBACK, PURGE_FEEDBACK, settings.history_kept_days),
        (Kept.REPORTS, PURGE_REPORTS, settings.reports_kept_days),
        (Kept.AUDIT_LOG, PURGE_AUDIT_LOG, settings.audit_kept_days),
    ):
        if days:
            stores[kind] = PostgresRetention(database, statement, kept_ms=days * _DAY_MS)
    return stores
