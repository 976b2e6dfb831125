"""What all messages have in common.

A message is the `data` of an envelope; its class names the envelope's `type`. Decides nothing about framing,
numbering or codecs: see `signaling.protocol.codec`.
"""

from typing import Annotated, ClassVar

import msgspec

Uuid = Annotated[str, msgspec.Meta(min_length=36, max_length=36, pattern=r"^[0-9a-f-]{36}$")]
ShortText = Annotated[str, msgspec.Meta(max_length=64)]
UnixMs = Annotated[int, msgspec.Meta(ge=0)]
NegotiationNumber = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class AboutSomebody(msgspec.Struct, frozen=True, kw_only=True):
    """Names the other person, by a call or by a connection: exactly one of the two."""

    call_id: Uuid | None = None
    connection_id: Uuid | None = None

    def __post_init__(self) -> None:
        if (self.call_id is None) is (self.connection_id is None):
            raise ValueError("exactly one of `call_id` and `connection_id` is needed")


class ClientMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Sent by clients."""

    TYPE: ClassVar[str]
    NEEDS_ID: ClassVar[bool] = True
    """Whether the envelope must carry a request number; such a request is always answered."""
    RELAYED: ClassVar[bool] = False
    """Whether it goes to the peer as it is, if it may."""


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Sent by the server."""

    TYPE: ClassVar[str]
    RELIABLE: ClassVar[bool] = True
    """Whether it is numbered by `seq` and kept until acknowledged."""
