"""What the shell has to do once a change is committed, in the imperative and in this order.

Decides nothing. `call.state` is not among them: after every commit the shell tells it to each seat for which
`signaling.call.view.must_hear` says so, before it carries out the effects. Effects are done by the node that
committed, at least once: each is safe to repeat.
"""

from dataclasses import dataclass

from base.ids import ConnectionId
from signaling.call.states import Seat
from signaling.protocol.messages.family import ServerMessage


@dataclass(frozen=True, slots=True)
class Send:
    """Tell one seat's session."""

    seat: Seat
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class SendIceServers:
    """Mint the seat's ICE servers and tell them: `call.ice_servers`."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class SettleMatch:
    """The call is live: the match and both tickets are done with. The users' activity stays this call."""


@dataclass(frozen=True, slots=True)
class CloseMedia:
    """Media is over: forget negotiations and end the TURN allocations of this call."""


@dataclass(frozen=True, slots=True)
class RememberPartners:
    """Keep the two apart for the policy's `recent_partner_s`. Comes before they may queue again."""


@dataclass(frozen=True, slots=True)
class ReturnTicket:
    """The seat goes back to the queue at its old place; a detached one (`attached` is false) waits paused."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class ReleaseTicket:
    """The seat's ticket is dropped and its user idle, where the user's slot still names this match or call."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """The two stay in touch: write the connection, then tell both users `connection.made`."""

    connection_id: ConnectionId


Effect = (
    Send
    | SendIceServers
    | SettleMatch
    | CloseMedia
    | RememberPartners
    | ReturnTicket
    | ReleaseTicket
    | OpenConnection
)
