"""The operators' port: alive, ready, counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from aiohttp.test_utils import TestClient
from prometheus_client import CollectorRegistry, Counter

from base.errors import Unavailable
from rest.app import build_admin_app
from rest.ports import Check


async def well() -> None:
    """A dependency that answers."""


async def away() -> None:
    raise Unavailable("at 10.0.0.5:5432")


async def silent() -> None:
    await asyncio.sleep(60)


async def broken() -> None:
    raise KeyError("canary")


@pytest.fixture
def admin_port(aiohttp_client: Any) -> Callable[..., Awaitable[TestClient[Any, Any]]]:
    async def open_port(**checks: Check) -> Any:
        registry = CollectorRegistry()
        Counter("minuet_things_total", "Things", registry=registry).inc(7)
        return await aiohttp_client(build_admin_app(registry, checks))

    return open_port


@pytest.mark.parametrize(
    ("required", "optional", "status", "said", "strict_status"),
    [
        (well, well, 200, "ready", 200),
        (well, away, 200, "degraded", 503),
        (away, well, 503, "not_ready", 503),
        (broken, away, 503, "not_ready", 503),
    ],
)
async def test_only_what_cannot_be_done_without_makes_a_process_not_ready(
    admin_port: Any, required: Any, optional: Any, status: int, said: str, strict_status: int
) -> None:
    """Else an outage of PostgreSQL would make balancers drop every hub in the middle of calls."""
    client = await admin_port(redis=Check(True, required), postgres=Check(False, optional))
    ready, strict = await client.get("/readyz"), await client.get("/readyz?strict=1")
    body = await ready.json()

    assert (ready.status, body["status"]) == (status, said)
    assert strict.status == strict_status
    assert body["missing"] == ([] if required is well else ["redis"])
    assert body["degraded"] == ([] if optional is well else ["postgres"])
    assert body["checks"]["redis"] == {
        "ok": required is well,
        "required": True,
        "error": None if required is well else ("KeyError" if required is broken else "Unavailable"),
    }
    assert ("Retry-After" in ready.headers) == (status == 503)


async def test_a_probe_that_hangs_counts_as_away(admin_port: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, each within its time."""
    monkeypatch.setattr("rest.routes.ops.PROBE_TIMEOUT_S", 0.5)
    others = {f"b{number}": Check(False, silent) for number in range(30)}
    client = await admin_port(a=Check(True, silent), c=Check(True, well), **others)
    began = time.monotonic()
    answer = await client.get("/readyz")

    assert answer.status == 503
    assert (await answer.json())["missing"] == ["a"]
    # One after the other, they would take fifteen seconds.
    assert time.monotonic() - began < 10


async def test_what_is_ready_is_counted_when_somebody_scrapes(
    admin_port: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For alerts: no balancer has to ask for `/readyz` first, and a probe that hangs does not hold the page up."""
    monkeypatch.setattr("rest.routes.ops.SCRAPE_TIMEOUT_S", 1)
    client = await admin_port(a=Check(True, away), b=Check(False, silent), c=Check(True, well))
    page = await (await client.get("/metrics")).text()

    assert 'minuet_check_ok{check="a",required="true"} 0.0' in page
    assert 'minuet_check_ok{check="b",required="false"} 0.0' in page
    assert 'minuet_check_ok{check="c",required="true"} 1.0' in page


async def test_only_a_change_is_worth_a_line_in_the_log(admin_port: Any) -> None:
    """Balancers and scrapers ask every few seconds, and an outage can last."""
    trouble: list[Exception] = [Unavailable("at 10.0.0.5:5432")]

    async def moody() -> None:
        if trouble:
            raise trouble[0]

    client = await admin_port(redis=Check(True, moody))
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await client.get("/readyz")
            await client.get("/metrics")
        trouble.clear()
        for _ in range(3):
            await client.get("/readyz")

    said = [(line["event"], line["check"]) for line in lines if "probe" in line["event"]]
    assert said == [("readiness_probe_failed", "redis"), ("readiness_probe_recovered", "redis")]


async def test_causes_stay_in_the_log(admin_port: Any) -> None:
    """Addresses and messages of dependencies are nobody else's business."""
    client = await admin_port(a=Check(True, away), b=Check(True, broken))
    text = await (await client.get("/readyz")).text()

    assert "10.0.0.5" not in text
    assert "canary" not in text


async def test_alive_says_nothing_of_what_is_depended_on(admin_port: Any) -> None:
    """Restarting a process does not mend its database."""
    client = await admin_port(redis=Check(True, away))
    answer = await client.get("/healthz")

    assert answer.status == 200
    assert await answer.json() == {"status": "ok"}


async def test_the_public_port_is_alive_too(house: Any) -> None:
    """Without envelope or account, and nothing else of the operators' is there."""
    assert await (await house.get("/healthz")).json() == {"status": "ok"}
    assert (await house.get("/readyz")).status == 404
    assert (await house.get("/metrics")).status == 404


async def test_metrics_are_in_the_format_that_is_asked_for(admin_port: Any) -> None:
    """Prometheus text, or OpenMetrics."""
    client = await admin_port()
    plain = await client.get("/metrics")
    modern = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert "minuet_things_total 7.0" in await plain.text()
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
    assert (await modern.text()).rstrip().endswith("# EOF")
