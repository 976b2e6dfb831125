"""Which slot of a cluster a command belongs to, and who serves it.

Pure: reads keys and the answers of CLUSTER SLOTS, asks nobody. A map is a value; `topology.py` keeps the newest one.
"""

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import DataError

SLOTS: Final = 16_384

_BY_SCRIPT: Final = frozenset({"EVALSHA", "EVAL", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"})
_STREAMS: Final = frozenset({"XREAD", "XREADGROUP"})
_KEYLESS: Final = frozenset(
    {
        "TIME",
        "PING",
        "ECHO",
        "INFO",
        "SCRIPT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "ACL",
        "CLIENT",
        "WAIT",
        "PUBLISH",
    }
    | {"FUNCTION", "LATENCY", "SLOWLOG", "ROLE", "LASTSAVE"}
)
# One primary's answer would pass for that of all.
_OF_EVERY_PRIMARY: Final = frozenset({"SCAN", "KEYS", "RANDOMKEY", "DBSIZE", "FLUSHALL", "FLUSHDB", "SWAPDB"})


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SlotRange(NamedTuple):
    """Slots from `first` to `last` and the primary that serves them, by its address and its node id."""

    first: int
    last: int
    primary: Address
    node_id: str


class SlotMap:
    """Who serves which slot, as one node of the cluster saw it."""

    def __init__(self, ranges: Sequence[SlotRange] = (), replicas: Sequence[Address] = ()) -> None:
        self.ranges = tuple(sorted(ranges))
        self.replicas = frozenset(replicas)
        self.primaries = tuple(dict.fromkeys(one.primary for one in self.ranges))
        """Each once, by its first slot."""
        self._by_slot: list[Address | None] = [None] * SLOTS
        for one in self.ranges:
            self._by_slot[one.first : one.last + 1] = [one.primary] * (one.last + 1 - one.first)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SlotMap) and (self.ranges, self.replicas) == (other.ranges, other.replicas)

    __hash__ = None  # type: ignore[assignment]  # nobody keys anything by it

    @property
    def nodes(self) -> frozenset[Address]:
        return self.replicas | set(self.primaries)

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a primary; not whether that one is up."""
        return None not in self._by_slot

    def primary_of(self, slot: int) -> Address | None:
        return self._by_slot[slot]

    def slots(self) -> Sequence[Address | None]:
        """The primary of each slot."""
        return self._by_slot


def read_slot_map(answer: Sequence[Any], asked: Address) -> SlotMap:
    """The answer of CLUSTER SLOTS. A node that does not know its own host gives none: then it is the one we asked at."""
    ranges: list[SlotRange] = []
    replicas: list[Address] = []
    for first, last, primary, *others in answer:
        ranges.append(SlotRange(int(first), int(last), _address(primary, asked), _text(primary[2])))
        replicas += (_address(other, asked) for other in others)
    return SlotMap(ranges, replicas)


def key_slot(key: str | bytes) -> int:
    """The slot of a key: of what stands in its first braces, if anything does, else of all of it."""
    if isinstance(key, str):
        key = key.encode()
    start = key.find(b"{")
    if start > -1:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


def slot_of(args: Sequence[Any]) -> int | None:
    """The slot of a command, None where any primary will do.

    Raises: DataError for a command that would have to go to every primary.
    """
    name = args[0]
    if name in _BY_SCRIPT:
        return key_slot(args[3]) if int(args[2]) else None
    first = name.partition(" ")[0]
    if first in _OF_EVERY_PRIMARY:
        raise DataError(f"{name} concerns each primary of a cluster: ask them one by one")
    if first in _KEYLESS or len(args) == 1:
        return None
    if first in _STREAMS:
        return key_slot(args[_streams_at(args) + 1])
    return key_slot(args[1])


def _streams_at(args: Sequence[Any]) -> int:
    return next(place for place, word in enumerate(args) if word in (b"STREAMS", "STREAMS"))


def _address(node: Sequence[Any], asked: Address) -> Address:
    host = _text(node[0])
    return Address(asked.host if host in ("", "?") else host, int(node[1]))


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
