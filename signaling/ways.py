"""The way that one seat's relays take: what is true of every one of them, as long as nothing changes in the call.

Found out once for each view of the call, since a call is told of tens of candidates between two changes. Decides nothing;
who may take the way is up to `signaling.relays`. Pure.
"""

import msgspec

from signaling.budget import Budget
from signaling.call.record import Call, SeatRecord
from signaling.call.states import Seat
from signaling.candidates import AddressRule


class Way(msgspec.Struct, frozen=True):
    """From one seat to the other."""

    view: Call
    """What it was found out from; it holds for no other."""
    seat: Seat
    peer: Seat
    to: SeatRecord
    """The record of the peer."""
    budget: Budget
    rule: AddressRule
    is_first: bool
    """Whether what takes it comes from a client of this node, and has been judged by no other."""
