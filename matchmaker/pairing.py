"""Pairing: who meets, decided greedily.

A ticket is tried when it arrives, when its wishes widen and when it comes back: since nothing else makes two
tickets compatible, nobody waits beside somebody who would fit. Of the compatible partners whose turn it is the best
by score is taken, and whoever was passed over for it gets credit; beyond the policy's `max_wait_s` it is first come,
first served.
"""

from dataclasses import dataclass, field

from matchmaker.index import Index
from matchmaker.scale import Scale
from matchmaker.scoring import Rules
from matchmaker.table import Entry
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


class Pairing:
    """Finds partners in one index by an intent's rules."""

    __slots__ = ("_index", "_rules", "_scale")

    def __init__(self, index: Index, rules: Rules) -> None:
        self._index = index
        self._rules = rules
        self._scale = Scale(rules, index.table)

    def pair(self, entry: Entry, now_ms: int) -> Pair | None:
        """Somebody with the best partner there is, both not in the index any more; or nothing, and nothing changed.

        `entry` may be in the index or not.
        """
        index, ticket = self._index, entry.ticket
        rows = index.candidates(ticket, entry.tier, BEST_OF)
        if not rows:
            return None
        row = self._choose(entry, rows, now_ms)
        passed_over = rows.index(row) if row in rows else len(rows)
        index.table.pass_over(rows[:passed_over])
        chosen = index.take(row)
        index.remove(ticket.ticket_id)
        a, b = (entry, chosen) if ticket.seniority < chosen.ticket.seniority else (chosen, entry)
        return Pair(a.ticket, b.ticket, (a.passed, b.passed), (a.tier, b.tier), passed_over)

    def _choose(self, entry: Entry, rows: list[int], now_ms: int) -> int:
        longest, rules = rows[0], self._rules
        # Beyond the longest wait it is first come, first served: a worse fit must not wait for ever.
        if len(rows) == 1 or now_ms - self._index.table.turns[longest] >= rules.max_wait_ms:
            return longest
        ticket = entry.ticket
        near = rules.near.get(ticket.region) if ticket.region is not None else None
        if near is not None and len(rows) == BEST_OF:
            # There are more, and the near ones may be behind these; those whose turn it is compete in any case.
            rows = [*rows, *self._index.candidates(ticket, entry.tier, BEST_OF, near)]
        points = self._scale.points(ticket, rows, now_ms)
        return rows[points.index(max(points))]
