"""Reliable messages that the client has not acknowledged yet.

Decides their numbers and how many may wait. Knows nothing of sockets: what is sent, replayed or given up is up to
the session.
"""

from collections import deque
from collections.abc import Iterable


class OutboxOverflow(Exception):
    """The client acknowledges too slowly; its session has to start over with a snapshot."""


class Outbox:
    """Frames by rising `seq`, from 1, bounded in number and bytes."""

    __slots__ = ("_bytes", "_frames", "_max_bytes", "_max_messages", "last_seq")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._frames: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.last_seq = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def keep(self, frame: bytes) -> None:
        """Keeps the frame that carries `last_seq + 1`. Raises: OutboxOverflow."""
        if len(self._frames) >= self._max_messages or self._bytes + len(frame) > self._max_bytes:
            raise OutboxOverflow
        self.last_seq += 1
        self._frames.append((self.last_seq, frame))
        self._bytes += len(frame)

    def refill(self, frames: Iterable[bytes], last_seq: int) -> None:
        """Holds from now on what another outbox of this session held; `last_seq` is the number of the last frame."""
        waiting = list(frames)
        first = last_seq - len(waiting) + 1
        self._frames = deque(enumerate(waiting, first))
        self._bytes = sum(map(len, waiting))
        self.last_seq = last_seq

    def waiting(self) -> list[bytes]:
        """All that is not acknowledged, oldest first."""
        return [frame for _, frame in self._frames]

    def acknowledge(self, seq: int) -> None:
        """Forgets everything up to `seq`; a number never sent counts as the last one sent."""
        frames = self._frames
        while frames and frames[0][0] <= seq:
            self._bytes -= len(frames.popleft()[1])

    def since(self, seq: int) -> list[bytes] | None:
        """The frames after `seq`, oldest first; None where some of them are gone or `seq` was never sent."""
        if seq > self.last_seq:
            return None
        if seq < self.last_seq and (not self._frames or self._frames[0][0] > seq + 1):
            return None
        return [frame for number, frame in self._frames if number > seq]
