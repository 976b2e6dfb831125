"""`/healthz`, `/readyz` and `/metrics`: for machines that watch machines. Without envelope, by their own customs."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from rest.envelope import JSON
from rest.metrics import ReadinessMetrics
from rest.ports import Check

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_S = 2.0
SCRAPE_TIMEOUT_S = 1.0
"""A page of metrics has to come in time above all when something is away: a supervisor waits 3 s for it."""


async def healthz(request: web.Request) -> web.Response:
    """The process answers; nothing is said about what it depends on."""
    return uncached(200, {"status": "ok"})


def uncached(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    """An answer that is true at this moment only."""
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type=JSON,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


class Readiness:
    """`/readyz`: 503 while something that this role cannot run without is away; with `?strict=1`, anything."""

    def __init__(self, checks: Mapping[str, Check], metrics: ReadinessMetrics) -> None:
        self._checks = dict(checks)
        self._metrics = metrics
        self._said: dict[str, str | None] = {}

    async def ask(self, timeout_s: float) -> dict[str, str]:
        """Asks all at once, and counts what they say. What fails now, each in one word; the rest is in the log."""
        failures = await asyncio.gather(*(_failure(check, timeout_s) for check in self._checks.values()))
        away: dict[str, str] = {}
        for (name, check), failure in zip(self._checks.items(), failures, strict=True):
            word = None if failure is None else type(failure).__name__
            if word is not None:
                away[name] = word
            self._metrics.ok.labels(name, str(check.required).lower()).set(word is None)
            self._tell(name, word, failure)
        return away

    def _tell(self, name: str, word: str | None, failure: Exception | None) -> None:
        # Balancers and scrapers ask every few seconds: only what changed is worth a line.
        if word == self._said.get(name):
            return
        self._said[name] = word
        if word is None:
            log.info("readiness_probe_recovered", check=name)
        else:
            log.warning("readiness_probe_failed", check=name, error=repr(failure))

    async def handle(self, request: web.Request) -> web.Response:
        away = await self.ask(PROBE_TIMEOUT_S)
        missing = [name for name in away if self._checks[name].required]
        ready = not (away if request.query.get("strict") == "1" else missing)
        body = {
            "status": "not_ready" if not ready else "degraded" if away else "ready",
            "degraded": [name for name in away if name not in missing],
            "missing": missing,
            "checks": {
                name: {"ok": name not in away, "required": check.required, "error": away.get(name)}
                for name, check in self._checks.items()
            },
        }
        return uncached(200 if ready else 503, body, {} if ready else {"Retry-After": "1"})


class Metrics:
    """`/metrics`: a registry in the Prometheus or OpenMetrics text format, as the scraper prefers.

    What `/readyz` would say is asked first, so that it can be alerted on without anybody who asks for that page.
    """

    def __init__(self, registry: CollectorRegistry, readiness: Readiness) -> None:
        self._registry = registry
        self._readiness = readiness

    async def handle(self, request: web.Request) -> web.Response:
        await self._readiness.ask(SCRAPE_TIMEOUT_S)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


async def _failure(check: Check, timeout_s: float) -> Exception | None:
    """What is wrong. Probes are not ours, so anything may come out of them."""
    try:
        async with asyncio.timeout(timeout_s):
            await check.probe()
    except Exception as error:
        # Broad: what is wrong with a probe is its answer.
        return error
    return None
