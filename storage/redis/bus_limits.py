"""How much the bus lets wait, keeps and bears."""

from dataclasses import dataclass, field

from storage.redis.bus_sequence import Patience


@dataclass(frozen=True, slots=True)
class BusLimits:
    """How much may wait to leave, how large one publication grows, how much is kept, how long silence is borne."""

    waiting_frames: int = 16_384
    waiting_bytes: int = 4 << 20
    batch_bytes: int = 256 << 10
    kept_ms: int = 10_000
    """For as long a node may be asked to send something again."""
    kept_bytes: int = 1 << 20
    """As much is kept of one link."""
    kept_total_bytes: int = 32 << 20
    held_total_bytes: int = 8 << 20
    """As much of what came may wait for what is missing before it."""
    silence_ms: int = 3_000
    needs_canary: bool = True
    """False for a process that listens without keeping a lease."""
    patience: Patience = field(default_factory=Patience)
