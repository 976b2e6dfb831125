"""Reliable messages that the client has not acknowledged yet.

Decides their numbers and how many may wait. Knows nothing of sockets: what is sent, replayed or given up is up to
the session.
"""

from collections.abc import Iterable


class OutboxOverflow(Exception):
    """The client acknowledges too slowly; its session has to start over with a snapshot."""


class Outbox:
    """Frames by rising `seq`, from 1, bounded in number and bytes."""

    __slots__ = ("_bytes", "_frames", "_max_bytes", "_max_messages", "last_seq")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        # The last of them is `last_seq`, and there are no gaps: so none carries its number here. A list, since few wait
        # at a time, and an empty deque alone takes 600 bytes.
        self._frames: list[bytes] = []
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
        frames, size = self._frames, self._bytes + len(frame)
        if size > self._max_bytes or len(frames) >= self._max_messages:
            raise OutboxOverflow
        frames.append(frame)
        self._bytes = size
        self.last_seq += 1

    def refill(self, frames: Iterable[bytes], last_seq: int) -> None:
        """Holds from now on what another outbox of this session held; `last_seq` is the number of the last frame."""
        self._frames = list(frames)
        self._bytes = sum(map(len, self._frames))
        self.last_seq = last_seq

    def waiting(self) -> list[bytes]:
        """All that is not acknowledged, oldest first."""
        return list(self._frames)

    def acknowledge(self, seq: int) -> None:
        """Forgets everything up to `seq`; a number never sent counts as the last one sent."""
        frames = self._frames
        left = self.last_seq - seq
        if left <= 0:
            frames.clear()
            self._bytes = 0
        elif left < len(frames):
            del frames[:-left]
            self._bytes = sum(map(len, frames))

    def since(self, seq: int) -> list[bytes] | None:
        """The frames after `seq`, oldest first; None where some of them are gone or `seq` was never sent."""
        frames = self._frames
        wanted = self.last_seq - seq
        return frames[len(frames) - wanted :] if 0 <= wanted <= len(frames) else None
