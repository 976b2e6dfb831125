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


def pair(index: Index, entry: Entry, now_ms: int, rules: Rules) -> Pair | None:
    """Somebody with the best partner there is, both not in the index any more; or nothing, and nothing changed.

    `entry` may be in the index or not.
    """
    ticket = entry.ticket
    candidates = index.candidates(ticket, entry.tier, BEST_OF)
    if not candidates:
        return None
    chosen = _choose(index, entry, candidates, now_ms, rules)
    passed_over = 0
    for other in candidates:
        if other is chosen:
            break
        other.passed += 1
        passed_over += 1
    index.remove(chosen.ticket.ticket_id)
    index.remove(ticket.ticket_id)
    a, b = (entry, chosen) if ticket.seniority < chosen.ticket.seniority else (chosen, entry)
    return Pair(a.ticket, b.ticket, (a.passed, b.passed), (a.tier, b.tier), passed_over)


def _choose(index: Index, entry: Entry, candidates: list[Entry], now_ms: int, rules: Rules) -> Entry:
    ticket, longest = entry.ticket, candidates[0]
    waited_ms = now_ms - longest.ticket.queued_at + longest.ticket.ahead_ms
    # Beyond the longest wait it is first come, first served: a worse fit must not wait for ever.
    if len(candidates) == 1 or waited_ms >= rules.max_wait_ms:
        return longest
    near = rules.near.get(ticket.region) if ticket.region is not None else None
    if near is not None and len(candidates) == BEST_OF:
        # There are more, and the near ones may be behind these; those whose turn it is compete in any case.
        candidates = [*candidates, *index.candidates(ticket, entry.tier, BEST_OF, near)]
    best, most = longest, float("-inf")
    for other in candidates:
        points = fit(ticket, other.ticket, rules) + urgency(other.ticket, other.passed, now_ms)
        if points > most:
            best, most = other, points
    return best
