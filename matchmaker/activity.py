"""What a user is doing, as the user's slot in Redis stores it.

Decides the text of the `activity` field: absent (idle), `queued:<pool>:<ticket>` or `call:<call>`. Refuses to
know whether the thing it names still exists; whoever is about to refuse somebody because of it checks that first.
"""

from dataclasses import dataclass

from base.ids import CallId, TicketId


@dataclass(frozen=True, slots=True)
class Queued:
    """The user waits in a pool with this ticket."""

    pool: str
    ticket_id: TicketId

    def __str__(self) -> str:
        return f"queued:{self.pool}:{self.ticket_id}"


@dataclass(frozen=True, slots=True)
class InCall:
    """The user is in this call, or on the way into it."""

    call_id: CallId

    def __str__(self) -> str:
        return f"call:{self.call_id}"


Activity = Queued | InCall


def parse_activity(text: str) -> Activity | None:
    """The activity that `text` stores; `None` for an idle user's empty text.

    Raises:
        ValueError: the text is none of ours.
    """
    if not text:
        return None
    kind, _, rest = text.partition(":")
    if kind == "call" and rest:
        return InCall(CallId(rest))
    pool, _, ticket_id = rest.rpartition(":")
    if kind == "queued" and pool and ticket_id:
        return Queued(pool, TicketId(ticket_id))
    raise ValueError(f"not an activity: {text!r}")
