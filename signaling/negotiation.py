"""The offer/answer exchange of one call, as its node watches it (RFC 3264, perfect negotiation of RFC 8829).

Decides which descriptions and candidates still count: numbers rise per offerer, an answer closes every open offer,
candidates wait for their description and have to belong to it. What passes has gone through the gate and the filter of
addresses. Pure; lives in a node's memory only, and is built anew after a `call.reset`.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from base.errors import ErrorCode, MinuetError
from signaling import sdp
from signaling.addresses import MAX_CANDIDATES, Passing, filter_description
from signaling.candidates import AddressRule, Outcome, check_trickled, filter_trickled
from signaling.protocol.messages.call import IceCandidate, SeatName

_ANY_ADDRESS: Final = AddressRule()
_MAX_OPEN_OFFERS: Final = 8

Key = tuple[SeatName, int]


class StaleNegotiation(MinuetError):
    """The number is unknown, closed, or not above the offerer's last."""

    code = ErrorCode.STALE_NEGOTIATION


class AnswerRefused(MinuetError):
    """The answer to a real, open offer may not pass: that negotiation is over for both."""


class _OpenOffer(msgspec.Struct, frozen=True):
    description: sdp.Description
    until_ms: int


@dataclass(slots=True)
class _Trickle:
    """Candidates of one seat for one negotiation."""

    offerer: SeatName
    number: int
    description: sdp.Description | None = None
    """The seat's own, once it has been relayed: its candidates may follow and have to belong to it."""
    count: int = 0
    waiting: list[IceCandidate] = field(default_factory=list)
    complete: bool = False


class Candidates(msgspec.Struct, frozen=True):
    """Candidates to relay now; made for every message of theirs, hence not a dataclass, which takes longer."""

    offerer: SeatName
    number: int
    candidates: list[IceCandidate]
    complete: bool
    outcomes: list[Outcome]
    """What became of each that came; those that did not pass are not among `candidates`."""


class OpenOfferFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An offer that waits for its answer, as it goes from node to node."""

    seat: SeatName
    number: int
    description: sdp.Description
    until_ms: int


class TrickleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the candidates of one seat for one negotiation, as it goes from node to node."""

    seat: SeatName
    offerer: SeatName
    number: int
    description: sdp.Description | None
    count: int
    waiting: list[IceCandidate]
    complete: bool


class NegotiationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a node knows of the descriptions in a call, as it goes to the node that one of the two moves to."""

    last: dict[SeatName, int]
    open: list[OpenOfferFacts]
    current: tuple[SeatName, int] | None
    trickles: list[TrickleFacts]
    answered: bool
    has_video: bool


class Negotiations:
    """Open offers and trickled candidates of one call."""

    __slots__ = (
        "_current",
        "_flowing",
        "_last",
        "_max_candidates",
        "_open",
        "_timeout_ms",
        "_trickles",
        "answered",
        "has_video",
    )

    def __init__(self, timeout_ms: int, max_candidates: int = MAX_CANDIDATES) -> None:
        self._timeout_ms = timeout_ms
        self._max_candidates = max_candidates
        self._last: dict[SeatName, int] = {"a": -1, "b": -1}
        self._open: dict[Key, _OpenOffer] = {}
        self._current: Key | None = None
        self._trickles: dict[tuple[SeatName, Key], _Trickle] = {}
        # By seat, the trickle that its last candidates were of, while its negotiation is known: so that it is not looked
        # for at each of them.
        self._flowing: dict[SeatName, _Trickle] = {}
        self.answered = False
        """Whether any answer has been relayed: without one, no media can be connected."""
        self.has_video = False
        """Whether video may flow, in either direction: by the last answer that was relayed, or one that was refused only
        by the offerer's node, when the answerer may have applied it and cannot go back."""

    def offer(
        self,
        seat: SeatName,
        number: int,
        text: str,
        allowance: sdp.Allowance,
        now_ms: int,
        rule: AddressRule = _ANY_ADDRESS,
    ) -> Passing:
        """Opens a negotiation; returns what may go on. Raises: StaleNegotiation, SdpRefused; then nothing has changed."""
        if number <= self._last[seat]:
            raise StaleNegotiation("the number must be above that of your last offer")
        description = sdp.parse(text)
        sdp.judge(description, allowance)
        passing = filter_description(text, description, rule)
        # Of one's own: the peer's must not keep a description from passing that takes video out.
        if len(self._open) >= _MAX_OPEN_OFFERS <= sum(offerer == seat for offerer, _ in self._open):
            raise MinuetError("too many unanswered offers", code=ErrorCode.RATE_LIMITED, retry_after_ms=1000)
        self._last[seat] = number
        self._open[seat, number] = _OpenOffer(description, now_ms + self._timeout_ms)
        self._trickle(seat, (seat, number)).description = description
        return passing

    def answer(
        self,
        seat: SeatName,
        number: int,
        text: str,
        allowance: sdp.Allowance,
        rule: AddressRule = _ANY_ADDRESS,
    ) -> Passing:
        """Closes all negotiations with the accepted answer; returns what may go on.

        Raises: StaleNegotiation (nothing has changed), AnswerRefused (that offer is closed).
        """
        key = (_other(seat), number)
        offer = self._open.get(key)
        if offer is None:
            raise StaleNegotiation("no open offer of the peer has this number")
        try:
            description = sdp.parse(text)
            sdp.check_answer(offer.description, description)
            sdp.judge(description, allowance)
            passing = filter_description(text, description, rule)
        except sdp.SdpRefused as refusal:
            del self._open[key]
            self._forget_trickles()
            raise AnswerRefused(refusal.message, code=refusal.code) from None
        self._open.clear()
        self._current = key
        self.answered = True
        self.has_video = description.has_live_video
        self._trickle(seat, key).description = description
        self._forget_trickles()
        return passing

    def candidates(
        self,
        seat: SeatName,
        offerer: SeatName,
        number: int,
        arrived: list[IceCandidate],
        complete: bool,
        rule: AddressRule = _ANY_ADDRESS,
    ) -> Candidates | None:
        """What to relay of trickled candidates; None while they wait for their description.

        Raises: StaleNegotiation, CandidateInvalid, MinuetError (`rate_limited`) above the most for a side of a negotiation.
        """
        trickle = self._flowing.get(seat)
        if trickle is None or trickle.number != number or trickle.offerer != offerer:
            trickle = self._find_trickle(seat, (offerer, number))
        count = trickle.count + len(arrived)
        if count > self._max_candidates:
            raise MinuetError(
                f"at most {self._max_candidates} candidates for one negotiation", code=ErrorCode.RATE_LIMITED
            )
        if trickle.description is not None:
            passing, outcomes = filter_trickled(arrived, trickle.description, rule)
            trickle.count = count
            return Candidates(offerer, number, passing, complete, outcomes)
        check_trickled(arrived)
        trickle.count = count
        trickle.waiting += arrived
        trickle.complete |= complete
        return None

    def release(
        self, seat: SeatName, offerer: SeatName, number: int, rule: AddressRule = _ANY_ADDRESS
    ) -> Candidates | None:
        """The candidates that waited for the description of `seat` that has just been relayed."""
        trickle = self._trickles.get((seat, (offerer, number)))
        if trickle is None or trickle.description is None or not (trickle.waiting or trickle.complete):
            return None
        passing, outcomes = filter_trickled(trickle.waiting, trickle.description, rule)
        released = Candidates(offerer, number, passing, trickle.complete, outcomes)
        trickle.waiting, trickle.complete = [], False
        return released

    def description_again(
        self,
        seat: SeatName,
        key: Key,
        text: str,
        allowance: sdp.Allowance,
        rule: AddressRule = _ANY_ADDRESS,
    ) -> Passing:
        """What may go on now of a description that has passed before, and was held up since.

        Raises: StaleNegotiation; SdpRefused (of an offer, which is closed), AnswerRefused.
        """
        is_offer = key[0] == seat
        if not (self._is_known(key) if is_offer else key == self._current):
            raise StaleNegotiation("that negotiation is over")
        try:
            description = sdp.parse(text)
            sdp.judge(description, allowance)
            return filter_description(text, description, rule)
        except sdp.SdpRefused as refusal:
            if is_offer:
                self.withdraw(*key)
                raise
            raise AnswerRefused(refusal.message, code=refusal.code) from None

    def candidates_again(
        self, seat: SeatName, key: Key, arrived: list[IceCandidate], rule: AddressRule = _ANY_ADDRESS
    ) -> list[IceCandidate]:
        """What may go on now of candidates that have passed before. Raises: StaleNegotiation, CandidateInvalid."""
        trickle = self._trickles.get((seat, key))
        if trickle is None or trickle.description is None:
            raise StaleNegotiation("that negotiation is over")
        return filter_trickled(arrived, trickle.description, rule)[0]

    def withdraw(self, offerer: SeatName, number: int) -> bool:
        """Closes an open offer that failed elsewhere. Returns whether it was open.

        One that was answered here and refused there leaves `has_video` as it is: the answerer may have applied the answer.
        """
        was_open = self._open.pop((offerer, number), None) is not None
        self._forget_trickles()
        return was_open

    def expire(self, now_ms: int) -> list[Key]:
        """Closes and returns the offers that nobody answered in time."""
        late = [key for key, offer in self._open.items() if offer.until_ms <= now_ms]
        for key in late:
            del self._open[key]
        if late:
            self._forget_trickles()
        return late

    def facts(self) -> NegotiationFacts:
        """What another node has to know to judge as this one would."""
        return NegotiationFacts(
            last=dict(self._last),
            open=[
                OpenOfferFacts(
                    seat=seat, number=number, description=offer.description, until_ms=offer.until_ms
                )
                for (seat, number), offer in self._open.items()
            ],
            current=self._current,
            trickles=[
                TrickleFacts(
                    seat=seat,
                    offerer=offerer,
                    number=number,
                    description=trickle.description,
                    count=trickle.count,
                    waiting=trickle.waiting,
                    complete=trickle.complete,
                )
                for (seat, (offerer, number)), trickle in self._trickles.items()
            ],
            answered=self.answered,
            has_video=self.has_video,
        )

    def go_on(self, facts: NegotiationFacts) -> None:
        """Judges from now on by what another node knew; what was known here before is forgotten."""
        self._last = {"a": facts.last.get("a", -1), "b": facts.last.get("b", -1)}
        self._open = {(one.seat, one.number): _OpenOffer(one.description, one.until_ms) for one in facts.open}
        self._current = facts.current
        self._trickles = {
            (one.seat, (one.offerer, one.number)): _Trickle(
                one.offerer, one.number, one.description, one.count, list(one.waiting), one.complete
            )
            for one in facts.trickles
        }
        self._flowing.clear()
        self.answered = facts.answered
        self.has_video = facts.has_video

    def forget(self) -> None:
        """Knows of nothing from now on, as after a `call.reset`."""
        self._last = {"a": -1, "b": -1}
        self._open.clear()
        self._current = None
        self._trickles.clear()
        self._flowing.clear()
        self.answered = self.has_video = False

    @property
    def may_have_video(self) -> bool:
        """Whether somebody may be sending video: by the last answer, or by one to an open offer that is on its way."""
        if self.has_video:
            return True
        return bool(self._open) and any(offer.description.has_live_video for offer in self._open.values())

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    @property
    def next_deadline_ms(self) -> int | None:
        return min([offer.until_ms for offer in self._open.values()], default=None)

    def _find_trickle(self, seat: SeatName, key: Key) -> _Trickle:
        """The one that candidates of this seat belong to. Raises: StaleNegotiation."""
        known = self._is_known(key)
        # Only one's own offer can be announced by candidates that overtook it.
        early = key[0] == seat and key[1] > self._last[seat]
        if not known and not early:
            raise StaleNegotiation("no current negotiation has this number")
        trickle = self._trickle(seat, key)
        if known:
            self._flowing[seat] = trickle
        return trickle

    def _trickle(self, seat: SeatName, key: Key) -> _Trickle:
        trickle = self._trickles.get((seat, key))
        if trickle is None:
            # Early candidates may name any number ahead; only the newest of a seat can still get its offer.
            for place in tuple(self._trickles):
                if place[0] == seat and not self._is_known(place[1]):
                    del self._trickles[place]
            trickle = self._trickles[seat, key] = _Trickle(*key)
        return trickle

    def _forget_trickles(self) -> None:
        """Forgets what belongs to no negotiation any more; called whenever one is over."""
        self._flowing.clear()
        for place in tuple(self._trickles):
            key = place[1]
            if not self._is_known(key) and key[1] <= self._last[key[0]]:
                del self._trickles[place]

    def _is_known(self, key: Key) -> bool:
        return key in self._open or key == self._current


def _other(seat: SeatName) -> SeatName:
    return "b" if seat == "a" else "a"
