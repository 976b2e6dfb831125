"""The supervisor's admin port: health and readiness of the whole, and the metrics of every worker on one page."""

import asyncio
from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from minuet.supervisor.exposition import CONTENT_TYPE, merge_pages
from minuet.supervisor.supervisor import Slot, Supervisor
from minuet.supervisor.worker import Worker
from rest.envelope import JSON
from rest.routes.ops import healthz, uncached

_ASK_S: Final = 3.0
_ALIVE_S: Final = 1.0
_TEXT: Final = {"Accept": "text/plain"}
_OWN: Final = "supervisor"


def supervisor_app(
    supervisor: Supervisor, registry: CollectorRegistry, http: aiohttp.ClientSession
) -> web.Application:
    """Health, readiness, metrics, the workers; not for the internet."""
    pages = _Pages(supervisor, registry, http)
    app = web.Application()
    app.router.add_route("GET", "/healthz", healthz)
    app.router.add_route("GET", "/readyz", pages.readyz)
    app.router.add_route("GET", "/metrics", pages.metrics)
    app.router.add_route("GET", "/workers", pages.workers)
    app.router.add_route("GET", r"/workers/{number:\d+}/{page:metrics|readyz}", pages.of_worker)
    return app


async def answers(http: aiohttp.ClientSession, worker: Worker) -> bool:
    """Whether the worker answers at all, on the loop that serves people."""
    try:
        async with asyncio.timeout(_ALIVE_S), http.get(f"{worker.admin}/healthz") as response:
            return response.status == web.HTTPOk.status_code
    except (aiohttp.ClientError, TimeoutError):
        return False


class _Pages:
    def __init__(
        self, supervisor: Supervisor, registry: CollectorRegistry, http: aiohttp.ClientSession
    ) -> None:
        self._supervisor = supervisor
        self._registry = registry
        self._http = http

    async def readyz(self, request: web.Request) -> web.Response:
        """503 while no worker can serve; with `?strict=1`, while any cannot or misses something."""
        slots = self._supervisor.slots
        answers = await asyncio.gather(*map(self._readiness, slots))
        statuses = {str(slot.number): status for slot, status in zip(slots, answers, strict=True)}
        able = [status for status in answers if status in ("ready", "degraded")]
        well = all(status == "ready" for status in answers)
        ready = bool(well if request.query.get("strict") == "1" else able)
        ready = ready and not self._supervisor.is_stopping
        body = {
            "status": "not_ready" if not ready else "ready" if well else "degraded",
            "degraded": [number for number, status in statuses.items() if status != "ready"],
            "workers": statuses,
        }
        return uncached(200 if ready else 503, body, {} if ready else {"Retry-After": "1"})

    async def metrics(self, request: web.Request) -> web.Response:
        """Every worker's samples and the supervisor's own, told apart by the label `worker`."""
        slots = self._supervisor.slots
        answers = await asyncio.gather(*(self._ask(slot, "metrics") for slot in slots))
        pages = {_OWN: generate_latest(self._registry).decode()}
        for slot, answer in zip(slots, answers, strict=True):
            if answer is not None and answer[0] == 200:
                pages[str(slot.number)] = answer[1].decode()
        return web.Response(body=merge_pages(pages).encode(), headers={"Content-Type": CONTENT_TYPE})

    async def workers(self, request: web.Request) -> web.Response:
        """Who works here."""
        return uncached(200, {"data": [_describe(slot) for slot in self._supervisor.slots]})

    async def of_worker(self, request: web.Request) -> web.Response:
        """One worker's own page, for scrapers that want each as a target of its own."""
        number, page = int(request.match_info["number"]), request.match_info["page"]
        slots = self._supervisor.slots
        answer = await self._ask(slots[number], page) if number < len(slots) else None
        if answer is None:
            raise web.HTTPNotFound if number >= len(slots) else web.HTTPServiceUnavailable
        status, body = answer
        return web.Response(
            status=status, body=body, headers={"Content-Type": CONTENT_TYPE if page == "metrics" else JSON}
        )

    async def _readiness(self, slot: Slot) -> str:
        answer = await self._ask(slot, "readyz")
        if answer is None:
            return "away"
        try:
            return str(orjson.loads(answer[1])["status"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return "away"

    async def _ask(self, slot: Slot, page: str) -> tuple[int, bytes] | None:
        worker = slot.worker
        if worker is None or not worker.is_serving:
            return None
        try:
            async with asyncio.timeout(_ASK_S):
                async with self._http.get(f"{worker.admin}/{page}", headers=_TEXT) as response:
                    return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return None


def _describe(slot: Slot) -> dict[str, Any]:
    worker = slot.worker
    return {
        "worker": slot.number,
        "pid": None if worker is None else worker.pid,
        "admin": None if worker is None or not worker.admin else worker.admin,
        "state": _state(slot),
        "starts": slot.starts,
        "deaths_in_a_row": slot.deaths.in_a_row,
    }


def _state(slot: Slot) -> str:
    if slot.worker is None:
        return "away"
    if not slot.is_serving:
        return "starting"
    if slot.worker.has_left:
        return "leaving"
    return "serving" if slot.opens else "silent"
