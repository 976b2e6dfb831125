"""What both servers of the benchmark do with a message: decode the envelope, number it, encode it for the peer."""

import argparse
import gc
import os
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import orjson

Peer = TypeVar("Peer")


class Pairs(Generic[Peer]):
    """Finds the partner of whoever says `hello` with the same number; each pair is used once."""

    def __init__(self) -> None:
        self._waiting: dict[int, Peer] = {}

    def join(self, number: int, peer: Peer) -> Peer | None:
        """Return the partner who came first, or None and wait."""
        partner = self._waiting.pop(number, None)
        if partner is None:
            self._waiting[number] = peer
        return partner


READY = orjson.dumps({"type": "ready"})


def decode(payload: bytes | str) -> Any:
    """The client's envelope."""
    return orjson.loads(payload)


def encode(message: Any, seq: int) -> bytes:
    """The envelope for the peer: the same type and data, with our number instead of the client's."""
    return orjson.dumps({"type": message["type"], "seq": seq, "data": message["data"]})


def listen() -> tuple[socket.socket, argparse.Namespace]:
    """Read the command line that `targets.py` writes, go to the core, and open the port."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    return listener, options


def tune_collector() -> None:
    """What a hub does after its start, and here both do: what lives now lives on, and the collector comes seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def announce(listener: socket.socket, say: Callable[[str], None] = print) -> None:
    """Tell the benchmark that the server runs, and where."""
    say(f"ready {listener.getsockname()[1]}")
