"""Calls with something in their consent logs."""

from signaling.call import consent
from signaling.call.record import Call, ConsentEvent, ConsentKind
from tests.contract.calls.call_records import ended

DAY_MS = 86_400_000
ENDED_AT = 1_700_000_000_000


def agreed(her: str, him: str, *, at: int = ENDED_AT, entries: int = 2) -> Call:
    """A call that ended at `at`, with so many entries in its log."""
    call = ended(her, him, at=at)
    for number in range(entries):
        event = ConsentEvent(at=at - 1_000 + number, kind=ConsentKind.VIDEO_ASKED, by="b")
        call = consent.with_event(call, event)
    return call
