"""Where a relay's microseconds go inside the process: from the read of one socket to the writes of both, without sockets.

    python -m loadtests.relay_path            a few seconds
    python -m loadtests.relay_path --pairs 1  everything in the caches

The parts are those of a hub: frame parser, codec, session, limits, pair check, negotiation, gate, outbox. The transports
do nothing. Beside them in the same run the least that a relay of JSON can do: parse the frame, decode, number, encode,
frame. Time is that of this process' CPU, the lowest of several repeats and of their slices.
"""

import argparse
import time
from collections.abc import Coroutine, Sequence
from math import inf
from typing import Any, Final, Protocol, cast

import orjson
from prometheus_client import CollectorRegistry

from accounts.model import Identity, Role
from base.clock import ManualClock, ServerClock
from base.ids import CallId, DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender, IntentPolicy
from loadtests.hub.swarm import frame
from loadtests.hub.talk import CANDIDATES_PER_NEGOTIATION
from loadtests.swarm import canned
from matchmaker.matches import Match, MatchedSeat
from signaling import frames
from signaling.call import events
from signaling.call.create import propose
from signaling.call.rules import receive
from signaling.call.states import SEATS, Seat
from signaling.connection import Connection, ConnectionSettings, unmask
from signaling.held_writes import Held, HeldWrites
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics, SessionMetrics
from signaling.ports import Bus, StoredCall
from signaling.protocol.codec import JSON, Request
from signaling.relays import Relays
from signaling.router import Router
from signaling.session.limits import Rate, SessionLimits
from signaling.session.session import Session
from signaling.session_shell import SessionShell

_NODE: Final = NodeId("bench")
_NOW_MS: Final = 1_700_000_000_000
_MANY: Final = Rate(1e9, 1e9)
_SLICE: Final = 400
"""Messages: milliseconds, in which nobody may have disturbed us."""
LIMITS: Final = SessionLimits(messages=_MANY, candidates=_MANY)
POLICY: Final = IntentPolicy(call_seconds=86_400.0, max_offers=1000, offers_s=0.001, signaling_bytes=10**12)


class Receiver(Protocol):
    """Whoever is handed what a socket has read."""

    def data_received(self, data: bytes) -> None: ...


Work = Sequence[tuple[Receiver, bytes]]
"""Reads in their order."""


class Sink:
    """A transport that takes everything."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def set_write_buffer_limits(self, _high: int, _low: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _name: str) -> None:
        """There is no socket below."""


class NeverHeld(HeldWrites):
    """Nobody turns a timer here: what is held goes with what is written next."""

    def hold(self, held: Held) -> int:
        return 1


class Watcher:
    """Calls that need no telling."""

    def answered(self, call: LocalCall, seat: Seat, /) -> None: ...

    def retime(self, call: LocalCall, /) -> None: ...

    def count_refusal(self, call: LocalCall, seat: Seat, code: object, /) -> None:
        raise RuntimeError(f"refused: {code}")

    def overspent(self, call: LocalCall, seat: Seat, /) -> None: ...


class Lifecycle:
    """Sessions that neither end nor command."""

    def detached(self, live: LiveSession) -> None: ...

    def ended(self, live: LiveSession, reason: str) -> None: ...

    def run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()


class RelayOnly:
    """A dispatcher of relays."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def relay(self, live: LiveSession, request: Request) -> None:
        self._relays.relay(live, cast(Any, request.message))

    async def handle(self, live: LiveSession, request: Request) -> None:
        raise RuntimeError(f"not a relay: {request.message!r}")


class Side:
    """One participant: a connection, and frames that are numbered as a client numbers them."""

    def __init__(self, live: LiveSession, connection: Connection, call_id: str, seat: Seat) -> None:
        self.live = live
        self.connection = connection
        self._call_id = call_id
        self._seat = seat
        self._id = 0

    def frame(self, type_: str, **data: object) -> bytes:
        self._id += 1
        message = {
            "type": type_,
            "id": self._id,
            "ack": 2**40,
            "data": {"call_id": self._call_id, **data},
        }
        return frame(orjson.dumps(message))

    def candidate(self, negotiation: int, number: int) -> bytes:
        of = "self" if self._seat == "a" else "peer"
        return self.frame(
            "call.candidates",
            negotiation=negotiation,
            of=of,
            candidates=[canned.candidate(number, self._seat)],
        )


class Bench:
    """A hub's memory, with so many live calls in it."""

    def __init__(self, pairs: int, sdp_bytes: int) -> None:
        self.clock = ServerClock(ManualClock(_NOW_MS))
        registry = CollectorRegistry()
        metrics = SessionMetrics(registry)
        hub = Hub(self.clock, metrics)
        router = Router(_NODE, hub, cast(Bus, None))
        self._calls = LocalCalls(self.clock)
        relays = Relays(self._calls, router, self.clock, CallMetrics(registry), Watcher())
        shell = SessionShell(
            self.clock, LIMITS, RelayOnly(relays), Lifecycle(), metrics, False, hub.standstill
        )
        self.pairs = [self._pair(number, hub, shell) for number in range(pairs)]
        self._negotiation = 0
        bare = len(canned.describe(padding="x"))
        self._sdp = canned.describe(padding="x" * max(1, sdp_bytes - bare))

    def descriptions(self) -> list[tuple[Connection, bytes]]:
        """An offer and its answer for each pair."""
        self._negotiation += 1
        number = self._negotiation
        work = []
        for a, b in self.pairs:
            offer = a.frame("call.offer", negotiation=number, sdp=self._sdp)
            answer = b.frame("call.answer", negotiation=number, of="peer", sdp=self._sdp)
            work += [(a.connection, offer), (b.connection, answer)]
        return work

    def candidates(self) -> list[tuple[Connection, bytes]]:
        """As many as one negotiation allows, both ways, pair after pair."""
        return [
            (side.connection, side.candidate(self._negotiation, number))
            for number in range(CANDIDATES_PER_NEGOTIATION)
            for pair in self.pairs
            for side in pair
        ]

    def _pair(self, number: int, hub: Hub, shell: SessionShell) -> tuple[Side, Side]:
        call_id = CallId(f"0190a5b2-7c3d-7000-8000-{number:012x}")
        seats = {seat: _seated(seat, call_id) for seat in SEATS}
        match = Match(call_id=call_id, intent="dating", claimed_at_ms=_NOW_MS, a=seats["a"], b=seats["b"])
        call = propose(match, POLICY, _NOW_MS)
        for seat in SEATS:
            call = receive(call, events.Accepted(seat), _NOW_MS).call
        for seat in SEATS:
            call = receive(call, events.MediaConnected(seat, answer_relayed=True), _NOW_MS).call
        self._calls.keep(StoredCall(call, "rev"))
        a, b = (self._side(seats[seat], call_id, seat, hub, shell) for seat in SEATS)
        return a, b

    def _side(self, seated: MatchedSeat, call_id: CallId, seat: Seat, hub: Hub, shell: SessionShell) -> Side:
        session = Session(seated.session_id, JSON, LIMITS, _NOW_MS)
        identity = Identity(
            user_id=seated.user_id,
            role=Role.USER,
            gender=seated.gender,
            family_id="f",
            issued_at_ms=_NOW_MS,
            expires_at_ms=_NOW_MS * 2,
        )
        live = LiveSession(shell, session, identity, seated.device_id, 1)
        settings = ConnectionSettings(held_writes=NeverHeld())
        connection = Connection(cast(Any, Sink()), "127.0.0.1", JSON.binary, settings)
        live.attach(connection)
        live.enter_call(call_id)
        hub.add(live)
        return Side(live, connection, call_id, seat)


def _seated(seat: Seat, call_id: CallId) -> MatchedSeat:
    return MatchedSeat(
        user_id=UserId(f"{call_id}{seat}"),
        device_id=DeviceId(f"d{seat}"),
        session_id=SessionId(f"s{call_id}{seat}"),
        node_id=_NODE,
        ticket_id=TicketId(f"t{call_id}{seat}"),
        queued_at=_NOW_MS,
        gender=Gender.FEMALE if seat == "a" else Gender.MALE,
        first_name="Sam",
        age=30,
        languages=("en",),
        verified=False,
    )


class Plain:
    """The least that a relay does; one for each socket."""

    def __init__(self, sink: Sink) -> None:
        self._parser = frames.FrameParser(65_536, unmask)
        self._seq = 0
        self._sink = sink

    def data_received(self, data: bytes) -> None:
        for _, payload in self._parser.feed(data):
            message = orjson.loads(payload)
            self._seq += 1
            relayed = {"type": message["type"], "seq": self._seq, "data": message["data"]}
            self._sink.write(frames.encode_text(orjson.dumps(relayed)))


def cpu_us(work: Work) -> float:
    """CPU microseconds per message, of the slice that cost least: others who use the machine only ever add."""
    todo = [(receiver.data_received, data) for receiver, data in work]
    lowest = inf
    for start in range(0, len(todo), _SLICE):
        piece = todo[start : start + _SLICE]
        began = time.process_time()
        for take, data in piece:
            take(data)
        lowest = min(lowest, (time.process_time() - began) / len(piece))
    return lowest * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--sdp-bytes", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    bench = Bench(options.pairs, options.sdp_bytes)
    plain: dict[Receiver, Plain] = {side.connection: Plain(Sink()) for pair in bench.pairs for side in pair}

    def to_plain(work: Work) -> Work:
        return [(plain[receiver], data) for receiver, data in work]

    print(f"{options.pairs} pairs; CPU us per message, lowest of {options.repeats}\n")
    print("| | hub | plain | ratio |\n| --- | ---: | ---: | ---: |")
    lowest: dict[str, list[float]] = {"SDP": [inf, inf], "ICE": [inf, inf]}
    for _ in range(options.repeats):
        # Candidates belong to the descriptions before them.
        for kind, make in (("SDP", bench.descriptions), ("ICE", bench.candidates)):
            work = make()
            lowest[kind][0] = min(lowest[kind][0], cpu_us(work))
            lowest[kind][1] = min(lowest[kind][1], cpu_us(to_plain(work)))
    for kind, (ours, theirs) in lowest.items():
        print(f"| {kind} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |")
    if not all(side.live.is_attached for pair in bench.pairs for side in pair):
        raise RuntimeError("a session was closed on the way")


if __name__ == "__main__":
    main()
