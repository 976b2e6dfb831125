"""The browser keeps to the contracts that the SDK's fakes keep to: else the fakes would prove nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from tests.fixtures.browser import QUIET

SDK_TESTS = Path(__file__).parent
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [*QUIET, "--autoplay-policy=no-user-gesture-required"]

RUN = """
async ([file, list, kitSource]) => {
  const contracts = (await import(`/${file}`))[list];
  const kit = new Function(`return (${kitSource})`)();
  const results = [];
  for (const { name, run } of contracts) {
    try {
      await run(kit.place, kit.assert);
      results.push([name, null]);
    } catch (error) {
      results.push([name, String(error)]);
    }
  }
  return results;
}
"""

PEER_CONNECTION_KIT = """
(() => {
  const audio = new AudioContext().createMediaStreamDestination();
  const canvas = document.createElement("canvas");
  canvas.getContext("2d");
  return { place: {
    createPeerConnection: () => new RTCPeerConnection({ bundlePolicy: "max-bundle" }),
    audioTrack: () => audio.stream.getAudioTracks()[0].clone(),
    videoTrack: () => canvas.captureStream(5).getVideoTracks()[0],
  } };
})()
"""

WEBSOCKET_KIT = """
(() => {
  const same = (one, other) => {
    if (JSON.stringify(one) !== JSON.stringify(other)) throw new Error(`${JSON.stringify(one)} is not ${JSON.stringify(other)}`);
  };
  const throws = (act, { name }) => {
    try { act(); } catch (error) { same(error.name, name); return; }
    throw new Error(`no ${name}`);
  };
  return { place: { WebSocket, url: `ws://${location.host}/echo`, deadUrl: `ws://${location.host}/dead` }, assert: { equal: same, deepEqual: same, throws } };
})()
"""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")]


async def empty_page(_request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>contract</title>", content_type="text/html")


async def script(request: web.Request) -> web.Response:
    """A contract, with the type that browsers want of a module."""
    path = SDK_TESTS / "contracts" / request.match_info["name"]
    return web.Response(body=path.read_bytes(), content_type="text/javascript")


async def echo_or_close(request: web.Request) -> web.WebSocketResponse:
    """What `fakes/websocket-server.mjs` does."""
    socket = web.WebSocketResponse(protocols=["minuet.v1.json"])
    await socket.prepare(request)
    async for message in socket:
        word, _, rest = message.data.strip('"').partition(":")
        if word == "close":
            code, _, reason = rest.partition(":")
            await socket.close(code=int(code), message=reason.encode())
        else:
            await socket.send_str(message.data)
    return socket


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    app = web.Application()
    app.add_routes(
        [web.get("/", empty_page), web.get("/contracts/{name}", script), web.get("/echo", echo_or_close)]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        yield page
        await browser.close()
    await runner.cleanup()


async def test_chromium_keeps_to_the_peer_connection_contract(page: Page) -> None:
    """Every promise that the fake peer connection makes is one that Chromium's keeps."""
    async with asyncio.timeout(180):
        results = await page.evaluate(
            RUN, ["contracts/peer-connection.mjs", "peerConnectionContract", PEER_CONNECTION_KIT]
        )

    assert len(results) > 10
    assert [(name, error) for name, error in results if error] == []


async def test_chromium_keeps_to_the_websocket_contract(page: Page) -> None:
    """Every promise that the fake WebSocket makes is one that Chromium's keeps."""
    async with asyncio.timeout(180):
        results = await page.evaluate(RUN, ["contracts/websocket.mjs", "websocketContract", WEBSOCKET_KIT])

    assert len(results) > 5
    assert [(name, error) for name, error in results if error] == []
