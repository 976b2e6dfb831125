"""The words of a call: its states, seats, roles and the reasons for which it ends.

Decides nothing; these are the closed lists that the record, the table and the wire share.
"""

from enum import StrEnum
from typing import Final

from matchmaker.matches import SEATS, Seat

__all__ = ["RELAYING", "SEATS", "TALKING", "EndReason", "Role", "Seat", "State", "other"]


class State(StrEnum):
    """Where a call stands. Every state but `ENDED` has a deadline."""

    PROPOSED = "proposed"
    """Two people were matched; nobody, or one of them, has taken the call."""
    CONNECTING = "connecting"
    """Both took it; descriptions and candidates travel, nobody hears anybody yet."""
    LIVE = "live"
    """Media flows both ways and the clock runs."""
    RECONNECTING = "reconnecting"
    """One side's media or session is lost; the clock runs on."""
    DECIDING = "deciding"
    """Media is over; whoever decides has a moment to say whether the two stay in touch."""
    ENDED = "ended"


class EndReason(StrEnum):
    """Why a call ended: one closed list, told to both sides and kept in history."""

    DECLINED = "declined"
    NO_ANSWER = "no_answer"
    CANCELLED = "cancelled"
    CONNECT_TIMEOUT = "connect_timeout"
    HANGUP = "hangup"
    COMPLETED = "completed"
    CONNECTED = "connected"
    NETWORK_LOST = "network_lost"
    VIDEO_REVOKED = "video_revoked"
    SIGNALING_LIMIT = "signaling_limit"
    MODERATION = "moderation"


class Role(StrEnum):
    """What a seat decides. Given by the match, never by a client."""

    CONTROLLER = "controller"
    GUEST = "guest"
    MUTUAL = "mutual"


RELAYING: Final = frozenset((State.CONNECTING, State.LIVE, State.RECONNECTING))
"""The states in which descriptions and candidates are relayed."""

TALKING: Final = frozenset((State.LIVE, State.RECONNECTING))
"""The states in which the clock runs."""


def other(seat: Seat) -> Seat:
    """The seat across the call."""
    return "b" if seat == "a" else "a"
