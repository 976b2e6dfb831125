"""Pairing: who meets, decided greedily.

A ticket is tried when it arrives, when its wishes widen and when it comes back: since nothing else makes two
tickets compatible, nobody waits beside somebody who would fit. Of the longest-waiting compatible partners the
best by score is taken; once the widening is over, the longest-waiting one.
"""

from dataclasses import dataclass

from base.policy import IntentPolicy
from matchmaker.index import Index
from matchmaker.scoring import score
from matchmaker.ticket import Ticket

BEST_OF = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tickets to be claimed together; `a` waited longer."""

    a: Ticket
    b: Ticket


def pair(index: Index, ticket: Ticket, tier: int, now_ms: int, policy: IntentPolicy) -> Pair | None:
    """The ticket with the best partner there is, both taken out of the index; or nothing, and nothing changed."""
    candidates = index.candidates(ticket, tier, BEST_OF)
    if not candidates:
        return None
    partner = _choose(ticket, candidates, now_ms, policy)
    index.remove(partner.ticket_id)
    index.remove(ticket.ticket_id)
    a, b = sorted((ticket, partner), key=lambda side: side.seniority)
    return Pair(a, b)


def _choose(ticket: Ticket, candidates: list[Ticket], now_ms: int, policy: IntentPolicy) -> Ticket:
    longest = candidates[0]
    patience_ms = max(policy.widen_after_s, default=0.0) * 1000
    # Beyond the last widening it is first come, first served: a worse fit must not wait for ever.
    if patience_ms <= now_ms - longest.queued_at:
        return longest
    return max(candidates, key=lambda other: score(ticket, other, now_ms))
