"""Identifiers: what names a thing everywhere, and how new ones are made.

Decides the form of an id (UUID version 7, RFC 9562 section 5.7: time-ordered, so that database pages stay
warm). Refuses to know the clock and the source of randomness: both are arguments.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NewType

UserId = NewType("UserId", str)
DeviceId = NewType("DeviceId", str)
SessionId = NewType("SessionId", str)
NodeId = NewType("NodeId", str)
TicketId = NewType("TicketId", str)
CallId = NewType("CallId", str)
ConnectionId = NewType("ConnectionId", str)

_RANDOM_BYTES = 10
_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def uuid7(now_ms: int, random: bytes) -> str:
    """The UUIDv7 text of a Unix time in milliseconds and ten random bytes."""
    if len(random) != _RANDOM_BYTES:
        raise ValueError(f"uuid7 needs {_RANDOM_BYTES} random bytes, got {len(random)}")
    tail = int.from_bytes(random, "big")
    rand_a = tail >> 68 & 0xFFF
    rand_b = tail & (1 << 62) - 1
    digits = f"{now_ms << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical lower-case form."""
    return _UUID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class IdFactory:
    """Makes ids from an injected clock (Unix milliseconds) and an injected source of random bytes."""

    now_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]

    def new(self) -> str:
        return uuid7(self.now_ms(), self.random_bytes(_RANDOM_BYTES))
