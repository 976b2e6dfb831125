"""The REST app on a real Valkey and PostgreSQL.

`house` builds it; a test that needs other settings or servers of its own calls `open_house` itself. Only what lies
outside REST is played by small fakes: the calls, the history and the watch, which record what they were asked.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from accounts.keys import KeyRing
from accounts.metrics import AccountMetrics
from accounts.model import Role
from accounts.passwords import Passwords
from accounts.profiles import Profiles
from accounts.service import AccountPorts, Accounts
from accounts.tokens import Authenticator, TokenIssuer, TokenScope
from base.clock import ServerClock, SystemClock
from base.errors import ErrorCode, MinuetError
from base.ids import CallId, IdFactory, NodeId, UserId
from base.policy import Gender
from matchmaker.outlook import Spread
from matchmaker.report import QueueReport, QueuesReport, SideReport
from matchmaker.scoring import Rule
from presence.stats import NodeReport, PresenceReport, UserCounts
from rest.app import build_app
from rest.metrics import RestMetrics
from rest.ports import Interaction
from rest.services import RestServices
from rest.settings import Limits, RestSettings
from signaling.call.record import Call
from signaling.call.states import Seat
from signaling.dispatch.ice import IceServersCommand
from signaling.feedback import Feedbacks
from signaling.moderation import Moderation
from signaling.turn import IceServers, TurnServers
from storage.postgres.accounts import PostgresAccounts
from storage.postgres.feedback import PostgresFeedback
from storage.postgres.moderation import PostgresCases
from storage.postgres.pool import open_pool
from storage.redis.client import connect
from storage.redis.idempotency import RedisReplies
from storage.redis.keys import Keys
from storage.redis.rate_limits import RedisLoginGuard, RedisRateLimiter
from storage.redis.revocations import RedisRevocations
from tests.integration.rest.chat_parts import chat_parts

SECRET = "a secret for tests of more than 32 bytes"
PASSWORD = "correct horse battery"
KEYS = Keys("test:")


class ListedHistory:
    """History from a list, newest first, as its port says."""

    def __init__(self) -> None:
        self.of: dict[str, list[Interaction]] = {}

    async def interactions(
        self, user_id: str, *, before: tuple[int, str] | None, limit: int
    ) -> list[Interaction]:
        found = sorted(self.of.get(user_id, []), key=lambda one: (one.ended_at, one.call_id), reverse=True)
        return [one for one in found if before is None or (one.ended_at, one.call_id) < before][:limit]


ICE = IceServers(
    ("stun:stun.example:3478",), TurnServers(("turn:turn.example:3478",), "what hub and coturn share")
)


class RecordingCalls:
    """Call commands that note who asked for what, and answer or refuse as they are told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.refusal: MinuetError | None = None
        self.out_of_reach = False
        self.gate: asyncio.Event | None = None
        """Where there is one, asking for video waits for it."""

    async def connect(self, call_id: str, user_id: str) -> dict[str, Any]:
        return self._answer("connect", call_id, user_id)

    async def pass_by(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        return self._answer_or_keep("pass_by", call_id, user_id)

    async def request_video(self, call_id: str, user_id: str) -> dict[str, Any]:
        answer = self._answer("request_video", call_id, user_id)
        if self.gate is not None:
            await self.gate.wait()
        return answer

    async def approve_video(self, call_id: str, user_id: str, direction: str) -> dict[str, Any]:
        return self._answer(f"approve_video {direction}", call_id, user_id)

    async def deny_video(self, call_id: str, user_id: str) -> dict[str, Any]:
        return self._answer("deny_video", call_id, user_id)

    async def revoke_video(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        return self._answer_or_keep("revoke_video", call_id, user_id)

    async def hang_up(self, call_id: str, user_id: str) -> dict[str, Any] | None:
        return self._answer_or_keep("hang_up", call_id, user_id)

    def _answer_or_keep(self, what: str, call_id: str, user_id: str) -> dict[str, Any] | None:
        answer = self._answer(what, call_id, user_id)
        return None if self.out_of_reach else answer

    def _answer(self, what: str, call_id: str, user_id: str) -> dict[str, Any]:
        self.asked.append((what, call_id, user_id))
        if self.refusal is not None:
            raise self.refusal
        return {"call_id": call_id, "time": len(self.asked)}


class Attendance:
    """Calls under way or just over, by their ids: who sits in them, and whether they are free."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}

    async def participant(self, call_id: CallId, user_id: UserId) -> tuple[Call, Seat]:
        call = self.calls.get(call_id)
        seat = None if call is None else call.seat_of(user_id)
        if call is None or seat is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        return call, seat


class FixedWatch:
    """A report that does not change; or a failure nobody foresaw."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def presence(self) -> PresenceReport:
        if self.failure is not None:
            raise self.failure
        node = NodeReport(
            node_id=NodeId("n1"), role="hub", started_at=1, renewed_at=2, users={"idle": 3}, calls={"live": 1}
        )
        return PresenceReport(
            users=UserCounts(online=3, idle=3, away=0, queued=0, in_call=0, reconnecting=0),
            queues={"dating": {"female": {"waiting": 2}}},
            calls={"live": 1},
            nodes=[node],
            at=1,
        )

    async def queues(self) -> QueuesReport:
        side = SideReport(
            depth={"waiting": 2, "paused": 0, "matched": 0},
            waiting_s=Spread(p50=3, p90=20, p99=40),
            matched_wait_s=Spread(),
            matched_per_minute=12.0,
        )
        queue = QueueReport(seen_at=1, sides={Gender.FEMALE: side}, rejections={Rule.AGE: 7})
        return QueuesReport(queues={"dating": queue}, at=2)


@dataclass
class House:
    """A running app and what a test wants to reach inside it."""

    client: TestClient[web.Request, web.Application]
    services: RestServices
    store: PostgresAccounts
    passwords: Passwords
    history: ListedHistory
    calls: RecordingCalls
    watch: FixedWatch
    attendance: Attendance
    registry: CollectorRegistry
    people: int = field(default=0)

    async def post(self, path: str, body: object = None, token: str = "", **options: Any) -> ClientResponse:
        headers = bearer(token) | options.pop("headers", {})
        return await self.client.post(path, json=body, headers=headers, **options)

    async def get(self, path: str, token: str = "", **options: Any) -> ClientResponse:
        headers = bearer(token) | options.pop("headers", {})
        return await self.client.get(path, headers=headers, **options)

    async def sign_up(self, role: Role = Role.USER, **changes: object) -> dict[str, Any]:
        """A new person with a role, signed in; the `data` of the answer."""
        self.people += 1
        body = person(email=f"person{self.people}@example.org") | changes
        answer = await self.post("/api/v1/auth/register", body)
        assert answer.status == 201, await answer.text()
        if role is not Role.USER:
            await self.services.accounts.appoint(str(body["email"]), role)
            answer = await self.post(
                "/api/v1/auth/login", {"email": body["email"], "password": body["password"]}
            )
            assert answer.status == 200, await answer.text()
        data: dict[str, Any] = (await answer.json())["data"]
        return data

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def person(**changes: object) -> dict[str, Any]:
    body = {
        "email": "ada@example.org",
        "password": PASSWORD,
        "first_name": "Ada",
        "gender": "female",
        "birth_date": "1990-05-17",
    }
    return body | changes


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


OpenHouse = Callable[..., Awaitable[House]]


@asynccontextmanager
async def running_house(
    redis_url: str,
    database_url: str,
    settings: RestSettings | None = None,
    extend: Callable[[web.Application], None] | None = None,
    patience_s: float = 10.0,
) -> AsyncIterator[House]:
    """`patience_s`: how long a store may take to answer; short only where one of them does not."""
    registry = CollectorRegistry()
    clock = SystemClock()
    ids = IdFactory(clock.wall_ms, os.urandom)
    async with AsyncExitStack() as stack:
        redis = connect(redis_url, timeout_s=patience_s)
        stack.push_async_callback(redis.aclose)
        pool = await open_pool(database_url, timeout_s=patience_s)
        stack.callback(pool.terminate)
        store = PostgresAccounts(pool, timeout_s=patience_s)
        revocations = RedisRevocations(redis, KEYS)
        metrics = AccountMetrics(registry)
        # A hundredth of the work: these tests sign up hundreds of people. The real cost is tested with the hashing.
        passwords = Passwords(metrics, memory_kib=512, passes=1)
        stack.callback(passwords.close)
        ring, scope = KeyRing.parse(SECRET), TokenScope()
        ports = AccountPorts(store, revocations, RedisLoginGuard(redis, KEYS, ids.new), passwords)
        history, calls, watch, attendance = ListedHistory(), RecordingCalls(), FixedWatch(), Attendance()
        chat, safety, block_list = chat_parts(redis, KEYS, pool, ids, attendance, patience_s)
        services = RestServices(
            accounts=Accounts(ports, TokenIssuer(ring, scope), ids, metrics),
            profiles=Profiles(store, ids),
            history=history,
            calls=calls,
            ice=IceServersCommand(attendance, ICE, ServerClock(clock)),
            feedback=Feedbacks(attendance, PostgresFeedback(pool, timeout_s=patience_s), ServerClock(clock)),
            moderation=Moderation(PostgresCases(pool, timeout_s=patience_s), ids.new, ids.now_ms),
            chat=chat,
            safety=safety,
            block_list=block_list,
            watch=watch,
            authenticator=Authenticator(ring, scope),
            revocations=revocations,
            limiter=RedisRateLimiter(redis, KEYS),
            replies=RedisReplies(redis, KEYS, ids.new),
            clock=clock,
            ids=ids,
            metrics=RestMetrics(registry),
            settings=settings or RestSettings(limits=Limits.off()),
        )
        app = build_app(services)
        if extend is not None:
            extend(app)
        client = TestClient(TestServer(app))
        await stack.enter_async_context(client)
        yield House(client, services, store, passwords, history, calls, watch, attendance, registry)


@pytest.fixture
async def open_house(redis_url: str, database_url: str) -> AsyncIterator[OpenHouse]:
    """Opens houses on this test's servers, with settings or routes of the test's choice."""
    async with AsyncExitStack() as stack:

        async def open_one(**options: Any) -> House:
            servers = {"redis_url": redis_url, "database_url": database_url}
            return await stack.enter_async_context(running_house(**{**servers, **options}))

        yield open_one


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house()
