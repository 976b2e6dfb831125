"""Two strangers at the demo page, each on another node, and what becomes of their call when one of them dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.balancer import Balancer
from tests.e2e.tabs import LEO, MAYA, OpenTab, Tab, meet
from tests.e2e.unhurried import UNHURRIED
from tests.e2e.waiting import until
from tests.fixtures.deployment import Deployment, Lasting, Process

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# From here on what a page sees of its call is written down, and its peer connection is marked.
WATCH = """
() => {
  const { call, client, pc } = window.__minuet;
  window.__seen = { states: [], sessions: [client.connection.sessionId], at: [] };
  pc.marked = true;
  call.on("change", () => {
    if (call.state !== window.__seen.states.at(-1)) window.__seen.states.push(call.state);
  });
  client.connection.on("state", ({ state }) => {
    if (state !== "ready") return;
    window.__seen.sessions.push(client.connection.sessionId);
    window.__seen.at.push(Date.now());
  });
}
"""
SEEN = """
() => ({
  ...window.__seen,
  state: window.__minuet.call?.state,
  endsAt: window.__minuet.call?.endsAt,
  samePeerConnection: window.__minuet.pc?.marked === true,
})
"""
BACK = "() => window.__seen.at.length > 0 && window.__minuet.client.connection.state === 'ready'"
HEARD_OF_IT = "() => window.__seen.states.includes('reconnecting')"


@pytest.fixture
def deployment(lasting: Lasting) -> Iterator[Deployment]:
    with lasting(
        "serve", "serve", "matchmaker", "worker", config=UNHURRIED, MINUET_ALLOWED_ORIGINS="*"
    ) as deployment:
        yield deployment


@dataclass
class Couple:
    """She is on the first node, he on the second, each through a balancer of their own."""

    her: Tab
    him: Tab
    her_way: Balancer
    her_node: Process
    his_node: Process


@pytest_asyncio.fixture(loop_scope="module")
async def couple(deployment: Deployment, open_tab: OpenTab) -> AsyncIterator[Couple]:
    first, second = (process for process in deployment.processes if process.role == "serve")
    async with Balancer(first.public, second.public) as hers, Balancer(second.public, first.public) as his:
        her, him = await asyncio.gather(open_tab(MAYA, hers.url), open_tab(LEO, his.url))
        for tab in (her, him):
            # A connection that is lost on purpose is told by the browser itself.
            tab.excused = ("WebSocket connection", "Failed to load resource", "ERR_")
        await meet(her, him)
        await asyncio.gather(her.hears(), him.hears())
        for tab in (her, him):
            await tab.page.evaluate(WATCH)
        yield Couple(her, him, hers, first, second)


async def seen(tab: Tab) -> dict[str, Any]:
    found: dict[str, Any] = await tab.page.evaluate(SEEN)
    return found


async def test_a_call_goes_on_when_the_node_of_one_of_the_two_is_killed(couple: Couple) -> None:
    """kill -9: he reads that she reconnects, she comes back on the other node, and they hear each other as before."""
    her, him = couple.her, couple.him
    before = await seen(her)
    os.kill(couple.her_node.pid, signal.SIGKILL)
    await him.until(HEARD_OF_IT)
    await her.until(BACK)
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    await asyncio.gather(her.hears(), him.hears())
    hers, his = await asyncio.gather(seen(her), seen(him))
    await her.press("hangup")
    for tab in (her, him):
        await tab.shows("ended")
    histories = [await history(tab) for tab in (her, him)]

    assert hers["sessions"][0] != hers["sessions"][-1], "what the dead node had is lost, and that is said"
    assert his["sessions"] == [his["sessions"][0]]
    assert (hers["endsAt"], his["endsAt"]) == (before["endsAt"], before["endsAt"]), "the clock ran on"
    assert hers["samePeerConnection"]
    assert his["samePeerConnection"]
    assert [len(rows) for rows in histories] == [1, 1]
    assert histories[0][0]["call_id"] == histories[1][0]["call_id"]
    assert histories[0][0]["reason"] == "hangup"


async def test_a_session_follows_its_page_to_the_other_node(couple: Couple) -> None:
    """Her network changes and the balancer picks the other node: the very same session goes on, and so does the call."""
    her, him = couple.her, couple.him
    before = await seen(her)
    couple.her_way.backends = (couple.his_node.public,)
    couple.her_way.cut()
    await her.until(BACK)
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    await asyncio.gather(her.hears(), him.hears())
    hers, his = await asyncio.gather(seen(her), seen(him))

    assert set(hers["sessions"]) == set(before["sessions"]), "resumed, not begun again"
    assert hers["endsAt"] == before["endsAt"]
    assert hers["samePeerConnection"]
    assert his["samePeerConnection"]


async def test_a_node_that_is_stopped_hands_its_sessions_over(couple: Couple) -> None:
    """SIGTERM: her page is asked to go, finds the other node and has lost nothing."""
    her, him = couple.her, couple.him
    before = await seen(her)
    # As a balancer does that looks at /readyz.
    couple.her_way.backends = (couple.his_node.public,)
    os.kill(couple.her_node.pid, signal.SIGTERM)
    await her.until(BACK)
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    await asyncio.gather(her.hears(), him.hears())
    hers = await seen(her)

    assert set(hers["sessions"]) == set(before["sessions"])
    assert hers["endsAt"] == before["endsAt"]
    assert hers["samePeerConnection"]


async def history(tab: Tab) -> list[dict[str, Any]]:
    """The finished calls of somebody, once there are any."""

    async def look() -> list[dict[str, Any]] | None:
        rows: list[dict[str, Any]] = await tab.rest("/history/interactions")
        return rows or None

    return await until(look, 30.0)
