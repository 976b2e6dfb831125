"""What one participant may send through the hub in one call.

Decides when descriptions and candidates are too many: offers by a rate, everything together by a total of characters.
Refused messages count too, or a stubborn client would be free to try. A description that takes video out has a reserve of
both that nothing else can spend, so that a revocation can always be carried out. Pure, and without any object made for
a message: candidates pass here for every frame. How many candidates a generation has is `signaling.negotiation`'s.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from base.errors import ErrorCode, MinuetError
from base.policy import IntentPolicy
from signaling import sdp
from signaling.protocol.messages.call import IceCandidate
from signaling.session.limits import Rate, RateLimited, TokenBucket

MESSAGE_BYTES: Final = 100
"""What a message costs beside its text, so that empty ones are not free."""


class BudgetSpent(MinuetError):
    """The total is spent: nothing that is sent later in this call can pass, so the call ends."""

    code = ErrorCode.RATE_LIMITED


class BudgetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as it goes from node to node with its seat's session."""

    spent: int
    offers: float
    reserved_offers: float


class Budget:
    """The budget of one seat; as old as the call, whatever sockets and sessions come and go."""

    __slots__ = ("_offers", "_reserve", "_reserved_offers", "_total", "spent")

    def __init__(self, policy: IntentPolicy, spent: int = 0) -> None:
        window_s = policy.offers_s
        self._offers = TokenBucket(Rate(policy.max_offers / window_s, policy.max_offers), 0)
        self._reserved_offers = TokenBucket(
            Rate(policy.reserved_offers / window_s, policy.reserved_offers), 0
        )
        self._total = policy.signaling_bytes
        self._reserve = policy.reserved_signaling_bytes
        self.spent = spent
        """Of the total, by everything that was sent, relayed or not."""

    def candidates(self, arrived: Sequence[IceCandidate]) -> None:
        """Counts a message of candidates. Raises: BudgetSpent."""
        size = MESSAGE_BYTES
        for candidate in arrived:
            size += len(candidate.candidate)
            if candidate.mid is not None:
                size += len(candidate.mid)
            if candidate.ufrag is not None:
                size += len(candidate.ufrag)
        self.spent += size
        if self.spent > self._total:
            raise BudgetSpent("the signaling budget of this call is spent")

    def offer(self, text: str, now_ms: int, *, video_flows: bool) -> None:
        """Counts an offer, before anything is made of it; `now_ms` is of a clock that never goes backwards.

        Raises: RateLimited with `retry_after_ms`, BudgetSpent.
        """
        self._describe(text, video_flows=video_flows)
        wait_ms = self._offers.take(now_ms)
        if not wait_ms:
            return
        if video_flows and _is_without_video(text):
            wait_ms = min(wait_ms, self._reserved_offers.take(now_ms))
        if wait_ms:
            raise RateLimited("too many offers", retry_after_ms=wait_ms)

    def answer(self, text: str, *, video_flows: bool) -> None:
        """Counts an answer. Raises: BudgetSpent."""
        self._describe(text, video_flows=video_flows)

    def facts(self, now_ms: int) -> BudgetFacts:
        """What is left of it."""
        return BudgetFacts(
            spent=self.spent,
            offers=self._offers.left(now_ms),
            reserved_offers=self._reserved_offers.left(now_ms),
        )

    def keep_to(self, facts: BudgetFacts, now_ms: int) -> None:
        """Leaves no more than was left on the node that the seat comes from."""
        self.spent = max(self.spent, facts.spent)
        self._offers.keep_to(facts.offers, now_ms)
        self._reserved_offers.keep_to(facts.reserved_offers, now_ms)

    def _describe(self, text: str, *, video_flows: bool) -> None:
        self.spent += MESSAGE_BYTES + len(text)
        over = self.spent - self._total
        if over > 0 and not (video_flows and over <= self._reserve and _is_without_video(text)):
            raise BudgetSpent("the signaling budget of this call is spent")


def _is_without_video(text: str) -> bool:
    # Asked only above the ordinary budget: the usual description is read once, by the gate.
    try:
        return not sdp.parse(text).has_live_video
    except sdp.SdpRefused:
        return False
