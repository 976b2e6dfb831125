"""What clients say to a server under test: from the first message to the point where two relay to each other.

A talk is a state machine without a socket. `HubTalk` speaks to Minuet itself, the others to the small relays of
`loadtests.peers`. Messages on the measured path are put together from templates, because the load generator has to be
quicker than the server.
"""

import itertools
from collections.abc import Sequence
from typing import Final, Protocol

import orjson

from loadtests.edge.targets import ICE, MESSAGES, SDP, SIZES
from loadtests.hub.world import Account
from loadtests.swarm import canned


def _around_number(message: bytes) -> tuple[bytes, bytes]:
    """What stands ahead of a message's `id` and behind it."""
    begin, mark, rest = message.partition(b'"id":')
    return begin + mark, rest.lstrip(b"0123456789")


CANDIDATES_PER_NEGOTIATION: Final = 40
"""As many as the hub lets each side send before it wants a new offer."""
_CANDIDATE: Final = {"candidate": "candidate:8421 1 udp 2122260223 192.0.2.177 46154 typ host", "mid": "0"}
_OK: Final = b'{"type":"ok"'
_NEWS: Final = (_OK, b'{"type":"call.state"')
PING: Final = b'{"type":"ping"'
_RELAYED: Final = (b'{"type":"call.candidates"', b'{"type":"call.offer"', b'{"type":"call.answer"')
PONG: Final = b'{"type":"pong"}'
_EVENT: Final = b'42["message",'
_NUMBERED: Final = {kind: _around_number(message) for kind, message in MESSAGES.items()}
_EVENTS: Final = {kind: _EVENT + message + b"]" for kind, message in MESSAGES.items()}


class Talk(Protocol):
    """One client's side."""

    @property
    def is_ready(self) -> bool:
        """Whether what this client was to do before the measurement is done."""

    @property
    def pair(self) -> str:
        """The same for both who relay to each other."""

    @property
    def leads(self) -> bool:
        """Whether this one of the two speaks first."""

    def opening(self) -> bytes | None:
        """The first message, if the client speaks first."""

    def heard(self, message: bytes) -> Sequence[bytes]:
        """Takes a message from before the relay; what the client answers."""

    def say(self, kind: str) -> bytes:
        """The next message for the partner."""

    def delivered(self, message: bytes) -> bool:
        """Takes a message during the relay; whether it is the partner's. Raises: RuntimeError for an error."""

    def aside(self, message: bytes) -> bytes | None:
        """What a message during the relay wants to be answered that is not the partner's."""

    def join(self) -> bytes:
        """Asks for a partner; the talk is ready again when it has one."""


class PeerTalk:
    """Speaks to the small relays of `loadtests.peers`: a token, a place in the queue, then the same again and again.

    With `meets` it asks for a partner at once, and is ready when it has one; without, it is ready when it is known.
    """

    def __init__(self, account: Account, seat: int, *, meets: bool) -> None:
        self._account = account
        self._seat = seat
        self._meets = meets
        self.is_ready = False
        self.leads = False
        self.pair = ""

    def opening(self) -> bytes | None:
        return orjson.dumps({"type": "session.start", "id": 1, "data": {"token": self._account.token}})

    def heard(self, message: bytes) -> Sequence[bytes]:
        envelope = orjson.loads(message)
        match envelope["type"]:
            case "session.ready" if self._meets:
                return (self.join(),)
            case "session.ready":
                self.is_ready = True
            case "match.found":
                self.pair, self.leads = envelope["data"]["call_id"], envelope["data"]["offerer"]
                self.is_ready = True
        return ()

    def join(self) -> bytes:
        self.is_ready = False
        return orjson.dumps({"type": "queue.join", "id": 2, "data": {"side": self._seat}})

    def say(self, kind: str) -> bytes:
        return MESSAGES[kind]

    def delivered(self, message: bytes) -> bool:
        return True

    def aside(self, message: bytes) -> bytes | None:
        return None


class PromisedTalk(PeerTalk):
    """The same with a server that answers: numbers its requests, and acknowledges with every message."""

    def __init__(self, account: Account, seat: int, *, meets: bool) -> None:
        super().__init__(account, seat, meets=meets)
        self._ids = itertools.count(3)
        self._seq = 0

    def heard(self, message: bytes) -> Sequence[bytes]:
        self._seq += 1
        return super().heard(message)

    def say(self, kind: str) -> bytes:
        begin, end = _NUMBERED[kind]
        return b'%b%d,"ack":%d%b' % (begin, next(self._ids), self._seq, end)

    def delivered(self, message: bytes) -> bool:
        self._seq += 1
        return not message.startswith(_OK)


class SocketIoTalk(PeerTalk):
    """The same, wrapped as Socket.IO's client does: one event, whose only argument is the message."""

    def opening(self) -> bytes | None:
        return None  # the server speaks first

    def heard(self, message: bytes) -> Sequence[bytes]:
        if message.startswith(_EVENT):
            return super().heard(message[len(_EVENT) : -1])
        if message.startswith(b"0{"):
            return (b"40" + orjson.dumps({"token": self._account.token}),)
        if message == b"2":
            return (b"3",)
        if not message.startswith(b"40{"):
            raise RuntimeError(f"Socket.IO answered {message[:300]!r}")
        return ()

    def join(self) -> bytes:
        return _EVENT + super().join() + b"]"

    def say(self, kind: str) -> bytes:
        return _EVENTS[kind]

    def delivered(self, message: bytes) -> bool:
        return message.startswith(_EVENT)

    def aside(self, message: bytes) -> bytes | None:
        return b"3" if message == b"2" else None


class HubTalk:
    """Starts a session, and where `meets` is set goes on into a call: with canned descriptions, both media connected.

    Without `meets` it stays where it is, and after `join` with the match, which it does not accept.

    Acknowledges with every message, numbers its requests and negotiations as it must.
    """

    def __init__(self, account: Account, *, meets: bool) -> None:
        self._account = account
        self._meets = meets
        self._ids = itertools.count(1)
        self._seq = 0
        self._negotiation = 0
        self._templates: dict[str, tuple[bytes, bytes, bytes]] = {}
        self.is_ready = False
        self.leads = False
        self.pair = ""

    def opening(self) -> bytes | None:
        data = {"token": self._account.token, "device_id": self._account.user_id}
        return orjson.dumps({"type": "session.start", "data": data})

    def heard(self, message: bytes) -> Sequence[bytes]:
        envelope = orjson.loads(message)
        self._seq = envelope.get("seq", self._seq)
        data = envelope.get("data") or {}
        match envelope["type"]:
            case "session.ready" if self._meets:
                return (self.join(),)
            case "session.ready":
                self.is_ready = True
            case "match.found" if not self._meets:
                self.is_ready = True
            case "match.found":
                self.pair, self.leads = data["call_id"], data["offerer"]
                self._prepare()
                return (self._in_call("call.accept"),)
            case "call.ice_servers" if self.leads:
                return (self.say(SDP),)
            case "call.offer":
                return self.say(SDP), self._in_call("call.media", state="connected")
            case "call.answer":
                return (self._in_call("call.media", state="connected"),)
            case "call.state" if self._meets:
                self.is_ready = data["state"] == "live"
            case "ping":
                return (PONG,)
            case "error" | "call.ended" | "call.negotiation_failed":
                raise RuntimeError(f"the hub answered {message[:300]!r}")
        return ()

    def say(self, kind: str) -> bytes:
        if kind == SDP:
            self._negotiation += 1
        begin, middle, end = self._templates[kind]
        return b'%b%d,"ack":%d%b%d%b' % (begin, next(self._ids), self._seq, middle, self._negotiation, end)

    def delivered(self, message: bytes) -> bool:
        if message.startswith(_NEWS):
            self._seq += 1
            return False
        if message.startswith(_RELAYED):
            self._seq += 1
            return True
        if message.startswith(PING):
            return False
        raise RuntimeError(f"the hub answered {message[:300]!r}")

    def aside(self, message: bytes) -> bytes | None:
        return PONG if message.startswith(PING) else None

    def join(self) -> bytes:
        self.is_ready = False
        return self.request("queue.join", {"intent": "dating", "preferences": {}})

    def request(self, type_: str, data: dict[str, object]) -> bytes:
        """A command with the next number."""
        return orjson.dumps({"type": type_, "id": next(self._ids), "ack": self._seq, "data": data})

    def _in_call(self, type_: str, **data: object) -> bytes:
        return self.request(type_, {"call_id": self.pair, **data})

    def _prepare(self) -> None:
        """Makes the messages of this call ready but for their numbers, of the sizes that all servers relay."""
        of = b"self" if self.leads else b"peer"
        candidates = b',"of":"%b","candidates":[%b]' % (of, orjson.dumps(_CANDIDATE))
        self._templates[ICE] = self._template(b"call.candidates", candidates, SIZES[ICE])
        about = b"" if self.leads else b',"of":"peer"'
        type_ = b"call.offer" if self.leads else b"call.answer"
        bare = self._template(type_, about + b',"sdp":%b' % orjson.dumps(canned.describe()), 0)
        padding = "x" * (SIZES[SDP] - _length(bare) - len(r"\r\na=x-padding:"))
        sdp = orjson.dumps(canned.describe(padding=padding))
        self._templates[SDP] = self._template(type_, about + b',"sdp":%b' % sdp, SIZES[SDP])

    def _template(self, type_: bytes, rest: bytes, size: int) -> tuple[bytes, bytes, bytes]:
        begin = b'{"type":"%b","id":' % type_
        middle = b',"data":{"call_id":"%b","negotiation":' % self.pair.encode()
        template = begin, middle, rest + b"}}"
        if size and not -12 <= _length(template) - size <= 12:
            raise RuntimeError(f"a message of {_length(template)} bytes instead of {size}")
        return template


def _length(template: tuple[bytes, bytes, bytes]) -> int:
    """With an `id` and an `ack` of four digits, a negotiation of two."""
    return sum(map(len, template)) + len('0000,"ack":0000') + 2
