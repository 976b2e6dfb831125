"""Pairing: who meets, decided greedily.

A ticket is tried when it arrives, when its wishes widen and when it comes back: since nothing else makes two
tickets compatible, nobody waits beside somebody who would fit. Of the compatible partners whose turn it is the best
by score is taken, and whoever was passed over for it gets credit; beyond the policy's `max_wait_s` it is first come,
first served.
"""

from dataclasses import dataclass, field

from matchmaker.index import Entry, Index
from matchmaker.scoring import Rules, fit, urgency
from matchmaker.ticket import Ticket

BEST_OF = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tickets to be claimed together; `a` waited longer."""

    a: Ticket
    b: Ticket
    passed: tuple[int, int] = field(default=(0, 0), compare=False)
    """How often each of the two was passed over, which counts again should the claim be refused."""
    tiers: tuple[int, int] = field(default=(0, 0), compare=False)
    passed_over: int = field(default=0, compare=False)
    """How many whose turn was before that of the chosen one were not chosen."""


def pair(index: Index, ticket: Ticket, tier: int, now_ms: int, rules: Rules) -> Pair | None:
    """The ticket with the best partner there is, both taken out of the index; or nothing, and nothing changed."""
    candidates = index.candidates(ticket, tier, BEST_OF)
    if not candidates:
        return None
    chosen = _choose(index, ticket, tier, candidates, now_ms, rules)
    passed_over = 0
    for entry in candidates:
        if entry is chosen:
            break
        entry.passed += 1
        passed_over += 1
    index.remove(chosen.ticket.ticket_id)
    own = index.remove(ticket.ticket_id)
    mine = (ticket, own.passed if own is not None else 0, tier)
    theirs = (chosen.ticket, chosen.passed, chosen.tier)
    a, b = (mine, theirs) if ticket.seniority < chosen.ticket.seniority else (theirs, mine)
    return Pair(a[0], b[0], (a[1], b[1]), (a[2], b[2]), passed_over)


def _choose(
    index: Index, ticket: Ticket, tier: int, candidates: list[Entry], now_ms: int, rules: Rules
) -> Entry:
    longest = candidates[0]
    waited_ms = now_ms - longest.ticket.queued_at + longest.ticket.ahead_ms
    # Beyond the longest wait it is first come, first served: a worse fit must not wait for ever.
    if len(candidates) == 1 or waited_ms >= rules.max_wait_ms:
        return longest
    near = rules.near.get(ticket.region) if ticket.region is not None else None
    if near is not None and len(candidates) == BEST_OF:
        # There are more, and the near ones may be behind these; those whose turn it is compete in any case.
        candidates = [*candidates, *index.candidates(ticket, tier, BEST_OF, near)]
    best, most = longest, float("-inf")
    for entry in candidates:
        points = fit(ticket, entry.ticket, rules) + urgency(entry.ticket, entry.passed, now_ms)
        if points > most:
            best, most = entry, points
    return best
