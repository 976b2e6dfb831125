"""One client's end of the protocol, without a socket: envelopes in both codecs, request numbers, acknowledgements.

Knows the protocol only as docs/protocol.md tells it, and shares no code with the server.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import msgpack

Message = dict[str, Any]

_ACKNOWLEDGE_AFTER = 32
"""After this many messages without a request of ours an `ack` is due of its own."""


class RequestRefused(Exception):
    """The hub answered `error`."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(f"{data['code']}: {data['message']}")
        self.code: str = data["code"]
        self.data = data


class Closed(Exception):
    """The socket is closed; `code` is the close frame's, where there was one."""

    def __init__(self, code: int | None, reason: str | None) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code


class Wire:
    """Numbers what goes out, remembers what came in. Lives as long as a session, over any number of sockets."""

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self.subprotocol = f"minuet.v1.{codec}"
        self.binary = codec == "msgpack"
        self.acknowledges = True
        """A client that reads and never says so has this off."""
        self.last_seq = 0
        self._acknowledged = 0
        self._ids = itertools.count(1)

    def begin(self) -> None:
        """A new session counts from the start."""
        self.last_seq = self._acknowledged = 0
        self._ids = itertools.count(1)

    def next_id(self) -> int:
        return next(self._ids)

    def frame(self, type_: str, data: Message | None = None, request_id: int | None = None) -> bytes:
        """The payload of a message, which also acknowledges all that has come."""
        envelope: Message = {"type": type_}
        if request_id is not None:
            envelope["id"] = request_id
        if data is not None:
            envelope["data"] = data
        if self.acknowledges and self.last_seq > self._acknowledged:
            envelope["ack"] = self._acknowledged = self.last_seq
        if self.binary:
            packed: bytes = msgpack.packb(envelope)
            return packed
        return json.dumps(envelope).encode()

    def read(self, payload: bytes | str) -> Message:
        """The message in a payload; its number is remembered."""
        message: Message = msgpack.unpackb(payload) if self.binary else json.loads(payload)
        self.last_seq = message.get("seq", self.last_seq)
        return message

    @property
    def owes_ack(self) -> bool:
        """Whether so much has come since our last word that it is time for an `ack`."""
        return self.acknowledges and self.last_seq - self._acknowledged >= _ACKNOWLEDGE_AFTER
