"""The chat of two people who stay in touch, as one of the two lives it right after their call.

Every message carries the moment at which it was sent, so that its reader can tell how long it took: both are on this
machine, and read one clock.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol

from loadtests.crowd.asking import Asker
from loadtests.swarm.wire import Message

_PAUSE_S: Final = 0.4
_QUIET_S: Final = 1.5
_BY_REST: Final = 4
"""One message of so many is sent over REST."""
_TEXT: Final = "It was good to hear your voice. Tomorrow at eight?"


class Rest(Protocol):
    """The REST interface, as the person who asks."""

    def call(self, method: str, path: str, body: Message | None = None, *, name: str | None = None) -> Any:
        """The data of the answer. `name` is the statistics' row, where the path has ids in it."""


class Lost(Exception):
    """What was written is not what can be read: a message is missing, doubled or out of order."""


class Correspondence:
    """One connection's chat; `run` returns when all is said and read."""

    def __init__(self, asker: Asker, rest: Rest, connection_id: str) -> None:
        self._asker = asker
        self._rest = rest
        self._path = f"/connections/{connection_id}"
        self._connection_id = connection_id
        self._sent: dict[str, int] = {}
        """Client ids and numbers, in order."""
        self._heard: dict[str, int] = {}
        """Ids of the other's messages, and their numbers."""

    def run(self, messages: int) -> None:
        """Writes so many and reads until the other is quiet. Raises: RequestRefused, Closed, TimeoutError, Lost."""
        self._asker.ask("presence.watch", {"connection_ids": [self._connection_id]})
        self._asker.client.tell("chat.typing", {"connection_id": self._connection_id})
        for number in range(messages):
            self._write(by_rest=number % _BY_REST == _BY_REST - 1)
            self._read_for(_PAUSE_S)
        self._read_for(_QUIET_S)
        self._compare()

    def _write(self, *, by_rest: bool) -> None:
        client_id = uuid.uuid4().hex
        message = {"client_id": client_id, "body": f"{time.perf_counter():.6f} {_TEXT}"}
        if by_rest:
            name = "/connections/{connection_id}/messages"
            answer = self._rest.call("POST", f"{self._path}/messages", message, name=name)
        else:
            answer = self._asker.ask("chat.send", {"connection_id": self._connection_id, **message})
        # None: put off until it was given up.
        if answer is not None:
            self._sent[client_id] = answer["number"]

    def _read_for(self, seconds: float) -> None:
        """Reads until nothing has come for so long, and says so."""
        read_up_to = 0
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            message = self._asker.client.next(left)
            if message is None:
                break
            if message["type"] == "chat.message":
                read_up_to = max(read_up_to, self._take(message["data"], message["arrived"]))
        if read_up_to:
            self._asker.ask("chat.read", {"connection_id": self._connection_id, "up_to": read_up_to})

    def _take(self, data: Mapping[str, Any], arrived: float) -> int:
        if data["connection_id"] != self._connection_id or data["from"] == "self":
            return 0
        # Told once more under the same id where the hub could not know that it was told.
        if data["id"] not in self._heard:
            self._heard[data["id"]] = data["number"]
            sent_at = float(data["body"].split()[0])
            self._asker.report.took("journey", "chat delivery", (arrived - sent_at) * 1000)
        number: int = data["number"]
        return number

    def _compare(self) -> None:
        """Looks at what is kept: all of one's own, once, in order, and everything that was heard."""
        known = [*self._sent.values(), *self._heard.values()]
        if not known:
            return
        began = time.perf_counter()
        # The two may have met before, and written then.
        before = min(known) - 1
        kept: list[Message] = self._rest.call(
            "GET",
            f"{self._path}/messages?after={before}&limit=100",
            name="/connections/{connection_id}/messages",
        )
        mine = {one["client_id"]: one["number"] for one in kept if one["from"] == "self"}
        theirs = {one["id"]: one["number"] for one in kept if one["from"] == "peer"}
        if [one["number"] for one in kept] != list(range(before + 1, before + 1 + len(kept))):
            self._fail(began, "the numbers have gaps")
        if list(mine.items()) != list(self._sent.items()):
            self._fail(began, f"{self._sent} were taken, {mine} are kept")
        if not self._heard.items() <= theirs.items():
            self._fail(began, "a message was told that is not kept")
        self._asker.report.took("journey", "chat as written", (time.perf_counter() - began) * 1000)

    def _fail(self, began: float, what: str) -> None:
        error = Lost(f"chat {self._connection_id}: {what}")
        self._asker.report.failed("journey", "chat as written", (time.perf_counter() - began) * 1000, error)
        raise error
