"""What Ann does, as her slot says it."""

from typing import Final

from base.ids import CallId, DeviceId, TicketId, UserId
from matchmaker.activity import InCall, Queued
from matchmaker.matches import SeatRef

ANN: Final = UserId("ann")
BOB: Final = UserId("bob")
PHONE: Final = DeviceId("phone")
QUEUED: Final = Queued("friends", TicketId("ticket-1"))
IN_CALL: Final = InCall(CallId("call-1"))
REF: Final = SeatRef(
    intent="friends", call_id=IN_CALL.call_id, seat="a", user_id=ANN, peer_id=BOB, ticket_id=QUEUED.ticket_id
)
"""Her seat in that call, to which the ticket has led."""
