"""Two tabs whose people do not learn each other's network address: coturn in between, and one of the two cheats.

His page was changed: it gathers every candidate it can, whatever policy the server tells it, sends them all, and never
closes its connection. Hers is what the server serves.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, WebSocket

from base.ids import CallId
from minuet.embedded.coturn import EmbeddedCoturn
from tests.e2e.tabs import LEO, MAYA, PATIENCE_MS, Persona, Tab
from tests.e2e.unhurried import UNHURRIED
from tests.fixtures.deployment import Deployment, Lasting
from tests.fixtures.turn import running_coturn, turn_settings

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# `ip_privacy` is left to its default. Hanging up ends the call at once.
CONFIG = UNHURRIED

CHEAT = """
const Honest = RTCPeerConnection;
window.RTCPeerConnection = class extends Honest {
  constructor(configuration) {
    super({ ...configuration, iceTransportPolicy: 'all' });
    (window.__kept ??= []).push(this);
  }
  setConfiguration(configuration) { super.setConfiguration({ ...configuration, iceTransportPolicy: 'all' }); }
  close() {}
};
"""

PAIRS = """
async () => {
  const reports = [...(await window.__minuet.pc.getStats()).values()];
  const of = (id) => reports.find((report) => report.id === id);
  return reports
    .filter(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded')
    .map(({ localCandidateId, remoteCandidateId }) => [of(localCandidateId).candidateType, of(remoteCandidateId).port]);
}
"""

CANDIDATE = re.compile(r"candidate:\S+ \d+ (\S+) \d+ (\S+) (\d+) typ (\w+)(.*)")
ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w:]|\.\d)"
)


@dataclass
class Wire:
    """Everything that passed over a tab's sockets."""

    received: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def watch(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda payload: self.received.append(_text(payload)))
        socket.on("framesent", lambda payload: self.sent.append(_text(payload)))

    @staticmethod
    def candidates(frames: list[str]) -> list[tuple[str, str, int, str, str]]:
        """Transport, address, port, type and the rest of every candidate, trickled or inside of a description."""
        return [
            (found[1].lower(), found[2], int(found[3]), found[4], found[5])
            for frame in frames
            for text in _texts(json.loads(frame))
            for line in text.splitlines()
            if (found := CANDIDATE.search(line))
        ]

    @property
    def call_id(self) -> CallId:
        found = next(frame for frame in map(json.loads, self.received) if frame["type"] == "match.found")
        return CallId(found["data"]["call_id"])


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCoturn]:
    with running_coturn(tmp_path_factory.mktemp("coturn")) as server:
        yield server


@pytest.fixture(scope="module")
def deployment(lasting: Lasting, coturn: EmbeddedCoturn) -> Iterator[Deployment]:
    settings = turn_settings(coturn.access)
    with lasting(
        "serve", "matchmaker", "worker", config=CONFIG, MINUET_ALLOWED_ORIGINS="*", **settings
    ) as deployment:
        yield deployment


async def visit(chromium: Browser, url: str, persona: Persona, witness: str = "") -> tuple[Tab, Wire]:
    """A tab, and what passes over its sockets from the first on."""
    tab = await Tab.open(chromium, url, persona, witness=witness)
    wire = Wire()
    tab.page.on("websocket", wire.watch)
    return tab, wire


async def test_neither_learns_the_others_address_and_the_relay_ends_with_the_call(
    chromium: Browser, deployment: Deployment, coturn: EmbeddedCoturn
) -> None:
    """Voice flows between two relays; of all that either received, no address is another than a relay's; and after the
    end coturn soon holds nothing of the call, though he goes on holding his connection."""
    her, to_her = await visit(chromium, deployment.url, MAYA)
    him, to_him = await visit(chromium, deployment.url, LEO, witness=CHEAT)
    await her.start()
    await her.shows("searching")
    await him.start()
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    await asyncio.gather(her.hears(), him.hears())
    for tab in (her, him):
        await tab.says("address", "Your address is hidden")
    pairs = await her.page.evaluate(PAIRS)
    during = await coturn.admin.sessions(to_her.call_id)
    await her.press("hangup")
    await him.shows("ended")

    async def is_gone() -> bool:
        return (await coturn.admin.sessions(to_her.call_id)).session_ids == ()

    # By itself coturn would keep it for as long as he does.
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not await is_gone():
            await asyncio.sleep(0.1)
    # Counted when coturn has been asked again.
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while await counted(deployment, "minuet_turn_allocations_ended_total") == 0:
            await asyncio.sleep(0.1)
    his_pc = await him.page.evaluate("() => window.__kept.map(({ signalingState }) => signalingState)")

    # A browser may have found a better one in between.
    assert pairs
    assert all(over_relays([pair], coturn) for pair in pairs)
    assert len(during.session_ids) >= 2
    assert "host" in {kind for *_, kind, _ in Wire.candidates(to_him.sent)}, "he did not even try"
    for wire in (to_her, to_him):
        assert_only_relays(wire, coturn)
    assert his_pc == ["stable"]
    for tab in (her, him):
        await tab.close()
        tab.blameless()


async def test_a_relay_that_is_lost_is_replaced_within_the_call(
    chromium: Browser, deployment: Deployment, coturn: EmbeddedCoturn
) -> None:
    """The TURN server drops what both hold: the pages ask for servers anew, restart ICE, and hear each other again."""
    her, to_her = await visit(chromium, deployment.url, MAYA)
    him, _ = await visit(chromium, deployment.url, LEO)
    await her.start()
    await her.shows("searching")
    await him.start()
    await asyncio.gather(her.in_state("live"), him.in_state("live"))
    await asyncio.gather(her.hears(), him.hears())
    asked = len(minted(to_her))
    await coturn.admin.end_allocations([to_her.call_id])
    # Browsers notice within half a minute.
    async with asyncio.timeout(2 * PATIENCE_MS / 1000):
        while len(minted(to_her)) == asked:
            await asyncio.sleep(0.1)
    await asyncio.gather(her.hears(), him.hears())
    pairs = await her.page.evaluate(PAIRS)

    assert over_relays(pairs, coturn)
    assert_only_relays(to_her, coturn)
    for tab in (her, him):
        await tab.close()
        tab.blameless()


def over_relays(pairs: list[tuple[str, int]], coturn: EmbeddedCoturn) -> bool:
    """Whether a pair that is in use leads from a relay to a relay.

    The other end is known by its port: a browser that hears from it before it is told of it calls it `prflx`.
    """
    first, last = map(int, coturn.access.relay_ports.split("-"))
    return any(kind == "relay" and first <= port <= last for kind, port in pairs)


def minted(wire: Wire) -> set[str]:
    """The user names of all credentials that a page was given, pushed or on request."""
    return {
        server["username"]
        for frame in map(json.loads, wire.received)
        if isinstance(frame.get("data"), dict)
        for server in frame["data"].get("ice_servers", [])
        if "username" in server
    }


def assert_only_relays(wire: Wire, coturn: EmbeddedCoturn) -> None:
    """Every candidate that was received is one of our relay's, and nowhere else does an address stand."""
    access = coturn.access
    first, last = map(int, access.relay_ports.split("-"))
    candidates = Wire.candidates(wire.received)

    assert candidates, "nothing was received at all"
    for transport, address, port, kind, rest in candidates:
        assert (transport, kind) == ("udp", "relay")
        assert address in access.relay_addresses
        assert first <= port <= last
        assert " raddr 0.0.0.0 rport 0" in rest or "raddr" not in rest
    relayed = [
        frame
        for frame in map(json.loads, wire.received)
        if frame["type"] in ("call.offer", "call.answer", "call.candidates", "call.state", "match.found")
    ]
    shown = {address for frame in relayed for text in _texts(frame) for address in addresses_in(text)}
    assert shown <= {"0.0.0.0", *access.relay_addresses}  # noqa: S104 - not bound here
    assert {frame["type"] for frame in relayed} >= {"call.candidates", "call.state", "match.found"}


def addresses_in(text: str) -> set[str]:
    """What reads as an IP address."""
    found = set()
    for match in ADDRESS.finditer(text):
        try:
            found.add(str(ip_address(match[0])))
        except ValueError:
            continue  # a fingerprint, or a time
    return found


async def counted(deployment: Deployment, name: str) -> float:
    """A counter of the worker."""
    async with aiohttp.ClientSession() as http:
        answer = await http.get(f"{deployment.of('worker').admin}/metrics")
        lines = (await answer.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _text(payload: str | bytes) -> str:
    return payload if isinstance(payload, str) else payload.decode()
