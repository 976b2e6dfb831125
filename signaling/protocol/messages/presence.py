"""The `presence` family: who is here."""

from typing import ClassVar

from signaling.protocol.messages.family import ClientMessage


class PresenceSet(ClientMessage, frozen=True, kw_only=True):
    """Says on this device that the user is away, or back. Away pauses a ticket, which keeps its place for a while."""

    TYPE: ClassVar[str] = "presence.set"
    away: bool
