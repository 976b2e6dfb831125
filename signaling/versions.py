"""Which clients are too old to be served. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from signaling.protocol.messages.session import ClientInfo

_NUMBERS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})*)(?![\d.])")


class LeastVersions:
    """The least version of each client that has one, told apart by the name that a client gives itself."""

    def __init__(self, least: Iterable[str] = ()) -> None:
        """`least` are pairs like `web:1.4.0`."""
        pairs = (one.rpartition(":") for one in least)
        self._least = {name: _numbers(version) for name, _, version in pairs}

    def serves(self, client: ClientInfo) -> bool:
        """Whether the client is new enough. One whose version cannot be read is not; one of another name always is."""
        least = self._least.get(client.name)
        return least is None or _numbers(client.version) >= least


def _numbers(version: str) -> tuple[int, ...]:
    """`1.4` for `1.4.0-beta`: what is before release does not count, nor do zeros at the end."""
    found = _NUMBERS.match(version)
    if found is None:
        return ()
    numbers = [int(part) for part in found[1].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
