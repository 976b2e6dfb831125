"""What reaches the log of a process: mistakes of ours with all that helps, and nothing of who asked or with what."""

import asyncio
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.deployment import Deploy

ROOT = Path(__file__).parents[3]
SECRET = "c4n4ry-of-a-token"

MALFORMED = (
    f"GET /{SECRET} HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {SECRET} x\r\n\r\n",
    f"POST /{SECRET} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: -5\r\n\r\n",
    f"{SECRET}\r\n\r\n",
    f"GET http://[{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nX-Long: {SECRET * 1000}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nCookie: {SECRET}(=1\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
    f"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
)

BROKEN_APPS = """
import asyncio
import os
from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry
from base.clock import SystemClock
from base.ids import IdFactory
from minuet.settings import load
from minuet.telemetry import configure_logs
from rest.cors import AllowedOrigins
from rest.metrics import RestMetrics
from rest.middleware import observe

async def beyond_our_middleware(request):
    raise ValueError(request.headers["X-Secret"])

async def inside_of_it(request):
    raise ValueError("what went wrong")

async def main():
    configure_logs(load({}))
    ids = IdFactory(SystemClock().wall_ms, os.urandom)
    observed = observe(SystemClock(), ids, RestMetrics(CollectorRegistry()), AllowedOrigins())
    for middlewares, handler in (((), beyond_our_middleware), ((observed,), inside_of_it)):
        app = web.Application(middlewares=middlewares)
        app.router.add_get("/", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://127.0.0.1:%d/" % runner.addresses[0][1]
        async with ClientSession() as http, http.get(url, headers={"X-Secret": "c4n4ry-of-a-token"}) as answer:
            assert answer.status == 500
        await runner.cleanup()

asyncio.run(main())
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_malformed_request_is_told_without_its_bytes_and_its_address(
    deploy: Deploy, log_format: str
) -> None:
    """Whatever is wrong with it, and in front of everything that could refuse it politely."""
    deployment = await deploy("serve", MINUET_LOG_FORMAT=log_format, MINUET_LOG_LEVEL="debug")
    served = urlsplit(deployment.url)
    for text in MALFORMED:
        reader, writer = await asyncio.open_connection(served.hostname, served.port)
        writer.write(text.encode())
        writer.write_eof()
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()
    hub = deployment.of("serve")
    await hub.stop()
    # The server's own address is no secret, and the same as the client's here.
    log = "".join(line for line in hub.log.read_text().splitlines(True) if "serving" not in line)

    assert "request could not be handled: BadHttpMessage" in log
    assert SECRET not in log
    assert "127.0.0.1" not in log


def test_a_mistake_of_ours_is_told_so_that_it_can_be_found() -> None:
    """With its traceback and text out of a handler; outside of our middleware, with the place and its type only."""
    told = subprocess.run(
        [sys.executable, "-c", BROKEN_APPS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    beyond, _, inside = told.stderr.partition("request_failed")
    assert "request could not be handled: ValueError" in beyond
    assert "in beyond_our_middleware" in beyond
    assert "127.0.0.1" not in told.stderr
    assert SECRET not in told.stderr
    assert "ValueError: what went wrong" in inside
    assert "in inside_of_it" in inside
