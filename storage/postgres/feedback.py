"""Feedback on calls in PostgreSQL: `signaling.feedback.FeedbackStore`."""

from typing import TYPE_CHECKING

import asyncpg

from base.ids import CallId, UserId
from signaling.feedback import Feedback, FeedbackStore
from storage.postgres.pool import acquire
from storage.postgres.times import milliseconds, moment


class PostgresFeedback:
    """One row for each participant of a call."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    # From the users, so that somebody whose account is gone by now breaks no constraint.
    PUT = """
    INSERT INTO calls.feedback AS known (call_id, user_id, rating, tags, note, given_at, changed_at)
    SELECT $1, u.id, $3, $4, $5, $6, $6
    FROM accounts.users u
    WHERE u.id = $2 AND u.deleted_at IS NULL
    ON CONFLICT (call_id, user_id) DO UPDATE SET
        rating = excluded.rating,
        tags = excluded.tags,
        note = excluded.note,
        changed_at = excluded.changed_at
    RETURNING rating, tags, note, given_at
    """

    async def put(self, call_id: CallId, user_id: UserId, feedback: Feedback) -> Feedback | None:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            row = await connection.fetchrow(
                self.PUT,
                call_id,
                user_id,
                feedback.rating,
                list(feedback.tags),
                feedback.note,
                moment(feedback.given_at),
            )
        return None if row is None else feedback_of(row)

    TOOK_PART = "SELECT EXISTS (SELECT FROM calls.participants WHERE call_id = $1 AND user_id = $2)"

    async def took_part(self, call_id: CallId, user_id: UserId) -> bool:
        async with acquire(self._pool, timeout_s=self._timeout_s) as connection:
            return bool(await connection.fetchval(self.TOOK_PART, call_id, user_id))


def feedback_of(row: asyncpg.Record) -> Feedback:
    """The feedback in a row with its columns."""
    return Feedback(
        rating=row["rating"],
        tags=tuple(row["tags"]),
        note=row["note"],
        given_at=milliseconds(row["given_at"]),
    )


if TYPE_CHECKING:  # says that the port is met; its owner never imports this module
    _fits: type[FeedbackStore] = PostgresFeedback
