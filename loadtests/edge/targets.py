"""The servers that can be measured: how each is started, and what a client says there until it may relay.

Another server, the real hub for one, is another `Target`: its command prints `ready <port>` when it listens, and its
script leads a client from the handshake to the point where what it sends reaches its partner.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

ICE: Final = "ICE"
SDP: Final = "SDP"
SIZES: Final = {ICE: 235, SDP: 3000}


class Script(Protocol):
    """One client's side of the conversation."""

    @property
    def is_ready(self) -> bool:
        """Whether what this client sends now reaches its partner."""

    def opening(self) -> bytes | None:
        """The first message, if the client speaks first."""

    def heard(self, message: bytes) -> bytes | None:
        """Take a message from before the relay; return what the client answers, if anything."""

    def relayed(self, kind: str) -> Iterator[bytes]:
        """Return the messages for the partner, without end."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server under test. Clients come in pairs: script(pair, seat) with seat 0 and 1."""

    name: str
    module: str
    script: Callable[[int, int], Script]
    path: str = "/v1/ws"
    subprotocol: str = "minuet.v1.json"

    def command(self, core: int) -> list[str]:
        """What to start; it keeps to this core."""
        return [sys.executable, "-m", self.module, "--core", str(core)]


class PairScript:
    """For the small servers of this folder: name your pair, then wait until the other one has come."""

    def __init__(self, pair: int, seat: int) -> None:
        self._pair = pair
        self.is_ready = False

    def opening(self) -> bytes | None:
        return orjson.dumps({"type": "hello", "id": 1, "data": {"pair": self._pair}})

    def heard(self, message: bytes) -> bytes | None:
        self.is_ready = orjson.loads(message)["type"] == "ready"
        return None

    def relayed(self, kind: str) -> Iterator[bytes]:
        return itertools.repeat(MESSAGES[kind])


def _candidate(filler: str) -> dict[str, object]:
    line = "candidate:8421 1 udp 1677729535 203.0.113.77 46154 typ srflx raddr 0.0.0.0 rport 0"
    candidate = {"candidate": line + filler, "sdpMid": "0", "sdpMLineIndex": 0}
    data = {"negotiation": 1, "of": "self", "candidates": [candidate], "complete": False}
    return {"type": "call.candidates", "id": 7, "data": data}


def _offer(filler: str) -> dict[str, object]:
    lines = ["v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1"]
    for section in (
        "audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126",
        "video 9 UDP/TLS/RTP/SAVPF 96 97 102 103",
    ):
        lines += [
            f"m={section}",
            "c=IN IP4 0.0.0.0",
            "a=rtcp:9 IN IP4 0.0.0.0",
            "a=ice-ufrag:4ZcD",
            "a=rtcp-mux",
        ]
        lines += [f"a=extmap:{number} urn:ietf:params:rtp-hdrext:sdes:mid" for number in range(1, 12)]
        lines += [f"a=rtpmap:{number} opus/48000/2" for number in range(96, 112)]
    data = {"negotiation": 1, "sdp": "\r\n".join(lines) + "\r\na=x:" + filler}
    return {"type": "call.offer", "id": 7, "data": data}


def _of_size(build: Callable[[str], dict[str, object]], size: int) -> bytes:
    missing = size - len(orjson.dumps(build("")))
    message = orjson.dumps(build("x" * missing))
    assert len(message) == size, f"the pattern alone is {size - missing} bytes"
    return message


MESSAGES: Final = {ICE: _of_size(_candidate, SIZES[ICE]), SDP: _of_size(_offer, SIZES[SDP])}

EDGE: Final = Target("Minuet's socket edge", "loadtests.edge.minuet_server", PairScript)
AIOHTTP: Final = Target("plain aiohttp", "loadtests.edge.aiohttp_server", PairScript)
