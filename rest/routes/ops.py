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
from rest.ports import Check

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_S = 2.0


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

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)

    async def handle(self, request: web.Request) -> web.Response:
        failures = await asyncio.gather(*(_failure(name, check) for name, check in self._checks.items()))
        away = {name: failed for name, failed in zip(self._checks, failures, strict=True) if failed}
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
    """`/metrics`: a registry in the Prometheus or OpenMetrics text format, as the scraper prefers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def handle(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


async def _failure(name: str, check: Check) -> str | None:
    """What is wrong, in one word; the rest is in the log. Probes are not ours, so anything may come out of them."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await check.probe()
    except Exception as error:
        log.warning("readiness_probe_failed", check=name, error=repr(error))
        return type(error).__name__
    return None
