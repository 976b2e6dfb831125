"""Reports as moderators handle them: what they may read, what is noted, and that a changed log is told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
import pytest

from accounts.model import Role
from base.errors import ErrorCode
from base.ids import CallId, UserId
from safety.records import Report, ReportCategory
from signaling.call import events
from signaling.call.record import Call
from signaling.call.rules import receive
from signaling.call.states import SEATS
from storage.postgres.calls import PostgresCallArchive
from storage.postgres.safety import PostgresSafety
from tests.contract.calls.call_records import new_id, proposed
from tests.integration.rest.conftest import House

REPORTS = "/api/v1/admin/reports"
AT = 1_700_000_000_000


def talked_over(her: str, him: str) -> Call:
    """He asks, tries without waiting, she lets him, takes it back, and hangs up."""
    call = proposed(her, him, at=AT)
    happened: list[events.Event] = [
        *(events.Accepted(seat) for seat in SEATS),
        *(events.MediaConnected(seat, answer_relayed=True) for seat in SEATS),
        events.VideoRequested("b"),
        events.RelayRefused("b", ErrorCode.VIDEO_NOT_ALLOWED, 3),
        events.VideoApproved("a", "receive"),
        events.VideoRevoked("a"),
        events.Blocked("a"),
    ]
    for number, event in enumerate(happened):
        call = receive(call, event, AT + number * 100).call
    return call


@dataclass
class Desk:
    """A moderator, two people who talked, and the database behind all of it."""

    house: House
    database: asyncpg.Connection
    pool: asyncpg.Pool
    her: dict[str, Any]
    him: dict[str, Any]
    moderator: dict[str, Any]

    async def record(self) -> Call:
        call = talked_over(self.her["user"]["id"], self.him["user"]["id"])
        await PostgresCallArchive(self.pool).record([call])
        return call

    async def reported(self, call_id: str | None, *, by: dict[str, Any] | None = None, at: int = AT) -> str:
        by = by or self.her
        other = self.him if by is self.her else self.her
        report = Report(
            id=new_id(),
            by_id=UserId(by["user"]["id"]),
            other_id=UserId(other["user"]["id"]),
            call_id=None if call_id is None else CallId(call_id),
            category=ReportCategory.HARASSMENT,
            note="rude",
            made_at=at,
        )
        await PostgresSafety(self.pool).write([report])
        return report.id

    async def reads(self, path: str, who: dict[str, Any] | None = None) -> tuple[int, Any]:
        answer = await self.house.get(path, (who or self.moderator)["access_token"])
        body = await answer.json()
        return answer.status, body.get("data", body.get("error"))

    async def resolves(
        self, report_id: str, body: object, who: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        token = (who or self.moderator)["access_token"]
        answer = await self.house.post(f"{REPORTS}/{report_id}/resolve", body, token)
        told = await answer.json()
        return answer.status, told.get("data", told.get("error"))

    async def audited(self) -> list[tuple[Any, ...]]:
        rows = await self.database.fetch(
            "SELECT action, actor_id, report_id, call_id, user_id, detail FROM safety.audit_log ORDER BY id"
        )
        return [tuple(None if value is None else str(value) for value in row) for row in rows]

    async def tampers(self, *statements: str) -> None:
        """As somebody who owns the database would: past all triggers."""
        async with self.database.transaction():
            await self.database.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                assert await self.database.execute(statement) != "UPDATE 0"


@pytest.fixture
async def desk(house: House, database_url: str) -> AsyncIterator[Desk]:
    people = [await house.sign_up(gender=gender) for gender in ("female", "male")]
    moderator = await house.sign_up(Role.MODERATOR)
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=2)
    async with pool, pool.acquire() as database:
        # As the house's own pool, whose codec writes the quality reports.
        yield Desk(house, database, pool, people[0], people[1], moderator)


async def test_an_open_report_opens_the_log_of_its_call(desk: Desk) -> None:
    """Who asked, allowed and took back what, when; what the gate refused; and that nothing was changed."""
    call = await desk.record()
    report_id = await desk.reported(call.call_id)

    status, log = await desk.reads(f"{REPORTS}/{report_id}/consent")

    assert status == 200
    assert log["chain"] == {"state": "intact", "broken_at": None}
    assert log["head"] == call.consent_head.hex() == log["entries"][-1]["hash"]
    her, him = call.a.user_id, call.b.user_id
    assert log["people"] == {
        "a": {"user_id": her, "role": "controller"},
        "b": {"user_id": him, "role": "guest"},
    }
    assert [
        (entry["kind"], entry["by_user_id"], entry["sender_seat"], entry["detail"], entry["count"])
        for entry in log["entries"]
    ] == [
        ("video_asked", him, None, None, 1),
        ("relay_refused", him, None, "video_not_allowed", 3),
        ("video_allowed", her, "b", "receive", 1),
        ("video_revoked", her, "b", None, 1),
    ]
    assert [entry["at"] for entry in log["entries"]] == [AT + 400, AT + 500, AT + 600, AT + 700]
    assert log["refusals"] == {"video_not_allowed": 3}
    assert (log["call_id"], log["reason"]) == (call.call_id, "hangup")


async def test_every_reading_is_in_the_audit_log(desk: Desk) -> None:
    """By whom, of which call, because of which report; also the second one."""
    call = await desk.record()
    report_id = await desk.reported(call.call_id)

    for _ in range(2):
        await desk.reads(f"{REPORTS}/{report_id}/consent")

    line = ("consent_log.read", desk.moderator["user"]["id"], report_id, call.call_id, call.b.user_id, None)
    assert await desk.audited() == [line, line]


async def test_without_an_open_report_there_is_no_log(desk: Desk) -> None:
    """None about this call, one that was resolved, one about no call, one about a call that is not in history."""
    call = await desk.record()
    resolved = await desk.reported(call.call_id)
    await desk.resolves(resolved, {"resolution": "no_action"})
    ids = [
        new_id(),
        resolved,
        await desk.reported(None),
        await desk.reported(new_id()),
        "no-id",
        call.call_id,
    ]

    answers = [await desk.reads(f"{REPORTS}/{report_id}/consent") for report_id in ids]

    assert [(status, error["code"]) for status, error in answers] == [(404, "not_found")] * 6


async def test_only_moderators_and_admins_may_ask(desk: Desk) -> None:
    """Neither of the two, and no service."""
    report_id = await desk.reported((await desk.record()).call_id)
    admin, service = await desk.house.sign_up(Role.ADMIN), await desk.house.sign_up(Role.SERVICE)
    paths = (REPORTS, f"{REPORTS}/{report_id}/consent")

    for path in paths:
        assert [(await desk.reads(path, who))[0] for who in (desk.her, desk.him, service)] == [403] * 3
        assert (await desk.reads(path, admin))[0] == 200


@pytest.mark.parametrize("side", ["reporter", "reported"])
async def test_nobody_handles_a_case_of_their_own(desk: Desk, side: str) -> None:
    """A moderator who talked, too, and reported or was reported."""
    desk.her["access_token"], desk.her["user"] = desk.moderator["access_token"], desk.moderator["user"]
    call = await desk.record()
    report_id = await desk.reported(call.call_id, by=desk.her if side == "reporter" else desk.him)

    read = await desk.reads(f"{REPORTS}/{report_id}/consent")
    resolved = await desk.resolves(report_id, {"resolution": "no_action"})

    assert [(status, error["code"]) for status, error in (read, resolved)] == [(403, "forbidden")] * 2
    assert await desk.audited() == []


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE calls.consent_events SET by_seat = 'a' WHERE number = 0", 0),
        ("UPDATE calls.consent_events SET at = at + interval '1 ms' WHERE number = 2", 2),
        ("UPDATE calls.consent_events SET detail = 'both' WHERE number = 2", 2),
        ("UPDATE calls.consent_events SET count = 1 WHERE number = 1", 1),
        ("UPDATE calls.consent_events SET hash = sha256(hash) WHERE number = 3", 3),
        ("DELETE FROM calls.consent_events WHERE number = 1", 1),
        ("DELETE FROM calls.consent_events WHERE number = 3", 3),
        ("DELETE FROM calls.consent_events", 0),
        ("UPDATE calls.calls SET consent_head = sha256(consent_head)", 4),
        ("UPDATE calls.calls SET consent_head = NULL, consent_entries = NULL", 4),
        ("UPDATE calls.consent_events SET hash = NULL", 0),
        (
            "INSERT INTO calls.consent_events (call_id, number, at, kind, by_seat, sender_seat)"
            " SELECT id, 4, now(), 'video_allowed', 'a', 'a' FROM calls.calls",
            4,
        ),
        (
            "UPDATE calls.participants SET user_id = (SELECT user_id FROM calls.participants WHERE seat = 'a')"
            " WHERE seat = 'b'",
            0,
        ),
    ],
)
async def test_whoever_changes_the_log_behind_our_back_is_seen(
    desk: Desk, statement: str, broken_at: int
) -> None:
    """Also with the rights of the database's owner, who can pass the triggers."""
    report_id = await desk.reported((await desk.record()).call_id)
    await desk.tampers(statement)

    status, log = await desk.reads(f"{REPORTS}/{report_id}/consent")

    assert status == 200
    assert log["chain"] == {"state": "broken", "broken_at": broken_at}


async def test_a_log_from_before_the_chain_is_told_apart(desk: Desk) -> None:
    """A recorder of an older release writes no hashes: that is not the same as a broken log."""
    report_id = await desk.reported((await desk.record()).call_id)
    await desk.tampers(
        "UPDATE calls.consent_events SET hash = NULL",
        "UPDATE calls.calls SET consent_head = NULL, consent_entries = NULL",
    )

    assert (await desk.reads(f"{REPORTS}/{report_id}/consent"))[1]["chain"]["state"] == "unsealed"


async def test_a_call_in_which_nobody_asked_for_anything_says_so_under_seal(desk: Desk) -> None:
    """No entries, and that is certain."""
    call = talked_over(desk.her["user"]["id"], desk.him["user"]["id"])
    call = msgspec.structs.replace(call, events=(), refused=(), consent_head=b"", refusals={})
    await PostgresCallArchive(desk.pool).record([call])
    report_id = await desk.reported(call.call_id)

    _, log = await desk.reads(f"{REPORTS}/{report_id}/consent")

    assert (log["chain"]["state"], log["entries"]) == ("intact", [])


async def test_what_reached_redis_changed_is_told_too(desk: Desk) -> None:
    """The record's own last hash goes to history, not one that fits what was found."""
    call = talked_over(desk.her["user"]["id"], desk.him["user"]["id"])
    forged = msgspec.structs.replace(call, events=call.events[1:])
    await PostgresCallArchive(desk.pool).record([forged])
    report_id = await desk.reported(call.call_id)

    assert (await desk.reads(f"{REPORTS}/{report_id}/consent"))[1]["chain"]["state"] == "broken"


async def test_reports_are_listed_in_pages_until_they_are_resolved(desk: Desk) -> None:
    """Newest first, those that are open unless asked otherwise."""
    ids = [await desk.reported(None, at=AT + number) for number in range(3)]
    await desk.resolves(ids[1], {"resolution": "warned", "note": " talked to him "})

    first = await desk.house.get(f"{REPORTS}?limit=1", desk.moderator["access_token"])
    page = await first.json()
    rest = await desk.reads(f"{REPORTS}?limit=1&cursor={page['meta']['next_cursor']}")
    resolved = await desk.reads(f"{REPORTS}?status=resolved")

    assert [one["report_id"] for one in (*page["data"], *rest[1])] == [ids[2], ids[0]]
    assert page["data"][0] == {
        "report_id": ids[2],
        "reporter_id": desk.her["user"]["id"],
        "reported_id": desk.him["user"]["id"],
        "call_id": None,
        "connection_id": None,
        "category": "harassment",
        "note": "rude",
        "created_at": AT + 2,
        "resolved_at": None,
        "resolved_by": None,
        "resolution": None,
        "resolution_note": None,
    }
    assert [(one["report_id"], one["resolution"], one["resolution_note"]) for one in resolved[1]] == [
        (ids[1], "warned", "talked to him")
    ]
    assert (await desk.reads(f"{REPORTS}?status=lost"))[0] == 400


async def test_a_report_is_resolved_once(desk: Desk) -> None:
    """The same again is the same answer; anything else is a conflict; and one line is in the audit log."""
    report_id = await desk.reported(None)
    other = await desk.house.sign_up(Role.MODERATOR)

    first = await desk.resolves(report_id, {"resolution": "banned"})
    again = await desk.resolves(report_id, {"resolution": "banned"})
    differently = await desk.resolves(report_id, {"resolution": "no_action"})
    by_another = await desk.resolves(report_id, {"resolution": "banned"}, other)
    unknown = await desk.resolves(new_id(), {"resolution": "banned"})
    wrong = await desk.resolves(report_id, {"resolution": "forgiven"})

    assert first == again
    assert (first[0], first[1]["resolved_by"]) == (200, desk.moderator["user"]["id"])
    assert [answer[0] for answer in (differently, by_another, unknown, wrong)] == [409, 409, 404, 400]
    assert [(line[0], line[5]) for line in await desk.audited()] == [("report.resolved", "banned")]
