"""Reports as moderators handle them, and the consent logs that an open report about a call opens to them.

Decides who may look: no open report about the call, no log, and nobody handles a case that they are part of. Whoever
looks or resolves leaves a line in the audit log, which is written together with what they did or not at all. Refuses to
know where reports and logs are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol

import msgspec

from base.errors import ErrorCode, MinuetError
from signaling.call.consent import Entry, Verdict, genesis, verify
from signaling.call.states import Seat

NOTE_LENGTH: Final = 2_000


class Resolution(StrEnum):
    """What came of a report; a closed list."""

    NO_ACTION = "no_action"
    WARNED = "warned"
    BANNED = "banned"
    OTHER = "other"


class ReportView(msgspec.Struct, frozen=True, kw_only=True):
    """A report, with what came of it; times in Unix milliseconds."""

    report_id: str
    reporter_id: str | None
    """Null when that account is gone, as below."""
    reported_id: str | None
    call_id: str | None
    connection_id: str | None
    """The chat that it is about, if it is about one."""
    category: str
    note: str
    created_at: int
    resolved_at: int | None = None
    """Null while the report is open."""
    resolved_by: str | None = None
    resolution: Resolution | None = None
    resolution_note: str | None = None


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """Who sat on one side of the call."""

    user_id: str
    role: str


class PeopleView(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, by seat."""

    a: PersonView
    b: PersonView


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a consent log."""

    number: int
    at: int
    kind: str
    by_seat: Seat | None
    """Null where time ran out, and for what both did."""
    by_user_id: str | None
    sender_seat: Seat | None
    """Whose video was allowed or revoked."""
    detail: str | None
    """The direction that was allowed, why something was denied, or the code of a refusal."""
    count: int
    hash: str | None
    """In hexadecimal digits."""


class ConsentView(msgspec.Struct, frozen=True, kw_only=True):
    """The consent log of a call, for the moderator of a report about it."""

    report_id: str
    call_id: str
    intent: str
    started_at: int | None
    ended_at: int
    reason: str
    people: PeopleView
    chain: Verdict
    head: str | None
    """The last hash, as it was kept beside the log."""
    entries: list[EntryView]
    refusals: dict[str, int]
    """All descriptions and candidates that did not pass, by code; the log has only so many lines for them."""


@dataclass(frozen=True, slots=True)
class KeptLog:
    """A log as it was found: nothing in here has been checked."""

    call_id: str
    intent: str
    live_at: int | None
    ended_at: int
    reason: str
    people: dict[Seat, PersonView]
    entries: list[Entry]
    hashes: list[bytes | None]
    head: bytes | None
    refusals: dict[str, int] = field(default_factory=dict)

    def verdict(self) -> Verdict:
        """Whether it is as it was written."""
        start = genesis(self.call_id, self.people["a"].user_id, self.people["b"].user_id)
        return verify(start, self.entries, self.hashes, self.head)


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody does, as the audit log keeps it."""

    id: str
    at: int
    actor_id: str
    request_id: str


class Cases(Protocol):
    """Where reports, logs and the audit log are kept. Every method may raise Unavailable."""

    async def reports(
        self, status: Literal["open", "resolved"], *, before: tuple[int, str] | None, limit: int
    ) -> list[ReportView]:
        """At most `limit`, newest first by (created_at, report_id), strictly before that key."""
        ...

    async def report(self, report_id: str) -> ReportView | None: ...

    async def read_log(self, report_id: str, act: Act) -> KeptLog | None:
        """The log of the call that an open report is about, and a line in the audit log in the same transaction.

        None, and no line: the report is not open, or not about a call. None beside a line: the call is not in history
        yet, or its log has been purged.
        """
        ...

    async def resolve(
        self, report_id: str, resolution: Resolution, note: str | None, act: Act
    ) -> ReportView | None:
        """Closes an open report, with a line in the audit log; None where it is not open."""
        ...


class ReportNotFound(MinuetError):
    """There is no such report, or nothing that it could open."""

    code = ErrorCode.NOT_FOUND


class OwnCase(MinuetError):
    """The moderator is one of the two."""

    code = ErrorCode.FORBIDDEN


class AlreadyResolved(MinuetError):
    """Somebody has closed the report, otherwise or with other words."""

    code = ErrorCode.CONFLICT


class Moderation:
    """What moderators do with reports. `new_id` makes UUIDv7 text, `now_ms` tells the Unix time."""

    def __init__(self, cases: Cases, new_id: Callable[[], str], now_ms: Callable[[], int]) -> None:
        self._cases = cases
        self._new_id = new_id
        self._now_ms = now_ms

    async def reports(
        self, status: Literal["open", "resolved"], *, before: tuple[int, str] | None, limit: int
    ) -> list[ReportView]:
        """A page of reports, newest first."""
        return await self._cases.reports(status, before=before, limit=limit)

    async def consent_log(self, report_id: str, moderator_id: str, request_id: str) -> ConsentView:
        """The consent log of the call that an open report is about, and whether it is as it was written.

        Raises:
            ReportNotFound: no open report about a call has this id, or there is no log (yet, or any more).
            OwnCase: the moderator is one of the two.
        """
        report = await self._case(report_id, moderator_id)
        if report.resolved_at is not None or report.call_id is None:
            raise ReportNotFound("there is no open report about a call with this id")
        log = await self._cases.read_log(report_id, self._act(moderator_id, request_id))
        if log is None:
            raise ReportNotFound("the call has no consent log yet, or it has been purged")
        return _view(report_id, log)

    async def resolve(
        self, report_id: str, moderator_id: str, request_id: str, resolution: Resolution, note: str | None
    ) -> ReportView:
        """Closes a report; the same again is the same answer.

        Raises: ReportNotFound, OwnCase, AlreadyResolved.
        """
        await self._case(report_id, moderator_id)
        act = self._act(moderator_id, request_id)
        resolved = await self._cases.resolve(report_id, resolution, note, act)
        if resolved is not None:
            return resolved
        known = await self._case(report_id, moderator_id)
        if (known.resolved_by, known.resolution, known.resolution_note) != (moderator_id, resolution, note):
            raise AlreadyResolved
        return known

    async def _case(self, report_id: str, moderator_id: str) -> ReportView:
        report = await self._cases.report(report_id)
        if report is None:
            raise ReportNotFound
        if moderator_id in (report.reporter_id, report.reported_id):
            raise OwnCase("nobody handles a report that they are part of")
        return report

    def _act(self, actor_id: str, request_id: str) -> Act:
        return Act(self._new_id(), self._now_ms(), actor_id, request_id)


def _view(report_id: str, log: KeptLog) -> ConsentView:
    people = log.people
    return ConsentView(
        report_id=report_id,
        call_id=log.call_id,
        intent=log.intent,
        started_at=log.live_at,
        ended_at=log.ended_at,
        reason=log.reason,
        people=PeopleView(a=people["a"], b=people["b"]),
        chain=log.verdict(),
        head=None if log.head is None else log.head.hex(),
        entries=[
            EntryView(
                number=entry.number,
                at=entry.at,
                kind=entry.kind,
                by_seat=entry.by,
                by_user_id=None if entry.by is None else people[entry.by].user_id,
                sender_seat=entry.sender,
                detail=entry.detail,
                count=entry.count,
                hash=None if hashed is None else hashed.hex(),
            )
            for entry, hashed in zip(log.entries, log.hashes, strict=True)
        ],
        refusals=log.refusals,
    )
