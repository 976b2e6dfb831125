"""Descriptions and candidates, from one seat of a call to the other.

Decides by this node's view of the call whether they may pass; the recipient's node decides again by its own. All
of it is synchronous and in memory: between two sockets of one node nothing waits for Redis.
"""

from collections.abc import Callable, Hashable, Sequence
from time import perf_counter
from typing import Final, Protocol

import msgspec

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError
from base.ids import CallId
from signaling.addresses import Passing
from signaling.budget import BudgetSpent
from signaling.call.record import SeatRecord
from signaling.call.rules import check_relay
from signaling.call.states import RELAYING, SEATS, Seat, other
from signaling.candidates import AddressRule, Outcome, RelayRanges
from signaling.live_session import LiveSession
from signaling.local_call import LocalCall, LocalCalls
from signaling.metrics import CallMetrics
from signaling.negotiation import AnswerRefused, Candidates
from signaling.node_frames import Relayed
from signaling.protocol.messages import call as wire
from signaling.protocol.messages.family import ServerMessage
from signaling.router import Router
from signaling.sdp import SdpRefused
from signaling.ways import Way

_NO_RELAYS: Final = RelayRanges()

DescriptionMessage = wire.CallOffer | wire.CallAnswer
RelayMessage = DescriptionMessage | wire.CallCandidates
# Told apart by their types' names, since `isinstance` takes long for classes of messages.
_OFFER: Final = "call.offer"
_CANDIDATES: Final = "call.candidates"


class RelayWatcher(Protocol):
    """What calls want to know of relays."""

    def answered(self, call: LocalCall, seat: Seat, /) -> None:
        """An answer of this seat has passed."""
        ...

    def retime(self, call: LocalCall, /) -> None:
        """The open offers have changed, and with them the earliest timer."""
        ...

    def count_refusal(self, call: LocalCall, seat: Seat, code: ErrorCode, /) -> None:
        """A description or candidate of this seat was refused."""
        ...

    def overspent(self, call: LocalCall, seat: Seat, /) -> None:
        """This seat has used up its signaling budget."""
        ...


class Relays:
    """Passes on what may pass."""

    def __init__(
        self,
        calls: LocalCalls,
        router: Router,
        clock: ServerClock,
        metrics: CallMetrics,
        watcher: RelayWatcher,
        ranges: RelayRanges = _NO_RELAYS,
    ) -> None:
        self._calls = calls
        self._router = router
        self._clock = clock
        self._metrics = metrics
        self._watcher = watcher
        self._any_address, self._relayed_only = AddressRule(), AddressRule(relay_only=True, ranges=ranges)

    def relay(self, live: LiveSession, message: RelayMessage) -> None:
        """Passes a client's message to its peer.

        Raises: MinuetError with the code of the refusal; a refused answer has failed its negotiation for both.
        """
        started = perf_counter()
        call_id = CallId(message.call_id)
        call = self._calls.get(call_id)
        way = None if call is None else call.ways.get(live)
        if call is None or way is None or way.view is not call.view:
            call, way = self._open_way(live, call_id, call)
        try:
            if message.TYPE == _CANDIDATES:
                way.budget.candidates(message.candidates)
                self._candidates(call, way, message)
            else:
                self._charge(call, way, message)
                self._describe(call, way, message)
        except MinuetError as error:
            self._watcher.count_refusal(call, way.seat, error.code)
            if isinstance(error, AnswerRefused):
                self._watcher.retime(call)
            if isinstance(error, BudgetSpent):
                self._watcher.overspent(call, way.seat)
            raise
        self._metrics.relay_seconds.observe(perf_counter() - started)

    def arrived(self, frame: Relayed) -> None:
        """Takes a relay from the peer's node, judges it by this node's own view and passes it on.

        What may not pass here is dropped, and its sender is told that the negotiation failed.
        """
        call = self._calls.get(CallId(frame.call_id))
        if call is None or call.view.state not in RELAYING or self._is_elsewhere(call, frame):
            return
        if frame.type == wire.CallNegotiationFailed.TYPE:
            failed = msgspec.convert(frame.data, wire.CallNegotiationFailed)
            call.negotiations.withdraw(
                frame.to_seat if failed.of == "self" else other(frame.to_seat), failed.negotiation
            )
            self._watcher.retime(call)
            self._deliver(call, frame.to_seat, call.view.seat(frame.to_seat), failed)
            return
        try:
            message = _AS_SENT[frame.type](frame)
        except (KeyError, msgspec.ValidationError):
            return  # a newer release relays something that this one does not know
        sender, may_have_video = other(frame.to_seat), call.negotiations.may_have_video
        by = call.view.seat(sender)
        # One that went after a recipient who has come here: it was judged, and counted, when its sender sent it.
        was_judged_here = self._router.here(by.node_id, by.session_id) is not None
        way = call.ways.get(sender)
        if way is None or way.view is not call.view:
            way = self._keep_way(call, sender, sender, is_first=False)
        try:
            if was_judged_here:
                self._pass_again(call, way, message)
            elif isinstance(message, wire.CallCandidates):
                self._candidates(call, way, message)
            else:
                self._describe(call, way, message)
        except AnswerRefused as refusal:
            # Its sender was told `ok`, and may send by it.
            call.negotiations.has_video |= may_have_video
            self._watcher.retime(call)
            self._watcher.count_refusal(call, sender, refusal.code)  # both have been told
        except MinuetError as error:
            if isinstance(message, wire.CallCandidates):
                return
            # Also of an answer whose offer ran out here while it was on its way: its sender was told `ok`.
            self._watcher.count_refusal(call, sender, error.code)
            offerer = sender if isinstance(message, wire.CallOffer) else frame.to_seat
            self._tell_failed(call, sender, offerer, message.negotiation, error.code)

    def _is_elsewhere(self, call: LocalCall, frame: Relayed) -> bool:
        """Sends a relay on where its recipient has left; false where nobody knows of another place."""
        to = call.view.seat(frame.to_seat)
        if self._router.here(to.node_id, to.session_id) is not None:
            return False
        return self._router.stray(to.session_id, frame)

    def expire(self, call: LocalCall, now_ms: int) -> None:
        """Tells the sides on this node of offers that nobody answered in time; the peer's node has its own watch.

        Nobody is told once media is over: the clock may run out in the same moment.
        """
        expired = call.negotiations.expire(now_ms)
        if call.view.state not in RELAYING:
            return
        for offerer, number in expired:
            for seat in SEATS:
                if call.view.seat(seat).node_id == self._router.node_id:
                    self._tell_failed(call, seat, offerer, number, "timeout")

    def _open_way(self, live: LiveSession, call_id: CallId, call: LocalCall | None) -> tuple[LocalCall, Way]:
        """Checks that a client sits in the call, and finds the way from there. Raises: as `relay`."""
        seat = None if call is None else call.view.seat_of(live.user_id)
        if call is None or seat is None:
            over = live.last_call_id == call_id
            raise MinuetError(code=ErrorCode.CALL_ENDED if over else ErrorCode.NOT_A_PARTICIPANT)
        if call.view.seat(seat).device_id != live.device_id:
            raise MinuetError(code=ErrorCode.WRONG_DEVICE)
        check_relay(call.view, seat)
        return call, self._keep_way(call, live, seat, is_first=True)

    def _keep_way(self, call: LocalCall, key: Hashable, seat: Seat, *, is_first: bool) -> Way:
        """The way from a seat, known from now on to whoever asks for the key."""
        view, peer = call.view, other(seat)
        for known in tuple(call.ways):
            if call.ways[known].view is not view:
                del call.ways[known]
        way = call.ways[key] = Way(
            view=view,
            seat=seat,
            peer=peer,
            to=view.seat(peer),
            budget=call.budgets[seat],
            rule=self._relayed_only if view.policy.hides_addresses else self._any_address,
            is_first=is_first,
        )
        return way

    def _charge(self, call: LocalCall, way: Way, message: DescriptionMessage) -> None:
        # On the sender's node only: what arrives from another has been counted there.
        if message.TYPE == _OFFER:
            way.budget.offer(message.sdp, self._clock.monotonic_ms(), video_flows=call.video_flows)
        else:
            way.budget.answer(message.sdp, video_flows=call.video_flows)

    def _describe(self, call: LocalCall, way: Way, message: DescriptionMessage) -> None:
        if message.TYPE == _OFFER:
            self._offer(call, way, message)
        else:
            self._answer(call, way, message)

    def _offer(self, call: LocalCall, way: Way, message: wire.CallOffer) -> None:
        seat = way.seat
        try:
            passing = call.negotiations.offer(
                seat,
                message.negotiation,
                message.sdp,
                call.allowance(seat),
                self._clock.now_ms(),
                way.rule,
            )
        except SdpRefused as refusal:
            self._metrics.sdp_rejected.labels(refusal.code).inc()
            raise
        self._count(way, passing)
        self._watcher.retime(call)
        self._tell_description(call, way, message, passing.sdp)
        self._release(call, way, seat, message.negotiation)

    def _answer(self, call: LocalCall, way: Way, message: wire.CallAnswer) -> None:
        seat, offerer = way.seat, way.peer
        if message.of != "peer":
            raise MinuetError("an answer is to an offer of the peer", code=ErrorCode.STALE_NEGOTIATION)
        try:
            passing = call.negotiations.answer(
                seat, message.negotiation, message.sdp, call.allowance(seat), way.rule
            )
        except AnswerRefused as refusal:
            # The answerer may have applied it, the offerer waits for it: both have to roll back.
            self._metrics.sdp_rejected.labels(refusal.code).inc()
            for told in SEATS:
                self._tell_failed(call, told, offerer, message.negotiation, refusal.code)
            raise
        self._count(way, passing)
        self._watcher.retime(call)
        self._tell_description(call, way, message, passing.sdp)
        self._release(call, way, offerer, message.negotiation)
        self._watcher.answered(call, seat)

    def _candidates(self, call: LocalCall, way: Way, message: wire.CallCandidates) -> None:
        seat = way.seat
        offerer = seat if message.of == "self" else way.peer
        passing = call.negotiations.candidates(
            seat, offerer, message.negotiation, message.candidates, message.complete, way.rule
        )
        if passing is not None:
            self._tell_candidates(call, way, passing)

    def _pass_again(self, call: LocalCall, way: Way, message: RelayMessage) -> None:
        """Delivers what has passed here before, as far as it may pass at this moment: meanwhile a permission may have been
        taken back, or the connections begun anew."""
        seat, rule = way.seat, way.rule
        offerer = seat if isinstance(message, wire.CallOffer) or message.of == "self" else way.peer
        key = (offerer, message.negotiation)
        if isinstance(message, wire.CallCandidates):
            candidates = call.negotiations.candidates_again(seat, key, message.candidates, rule)
            self._tell_candidates(call, way, Candidates(*key, candidates, message.complete, []))
            return
        try:
            text = call.negotiations.description_again(seat, key, message.sdp, call.allowance(seat), rule).sdp
        except AnswerRefused as refusal:
            for told in SEATS:
                self._tell_failed(call, told, offerer, message.negotiation, refusal.code)
            raise
        except SdpRefused:
            self._watcher.retime(call)
            raise
        self._tell_description(call, way, message, text)

    def _tell_description(self, call: LocalCall, way: Way, message: DescriptionMessage, text: str) -> None:
        call_id, number = message.call_id, message.negotiation
        relayed = (
            wire.CallOfferRelayed(call_id=call_id, negotiation=number, sdp=text)
            if message.TYPE == _OFFER
            else wire.CallAnswerRelayed(call_id=call_id, negotiation=number, of="self", sdp=text)
        )
        self._deliver(call, way.peer, way.to, relayed)

    def _release(self, call: LocalCall, way: Way, offerer: Seat, number: int) -> None:
        waiting = call.negotiations.release(way.seat, offerer, number, way.rule)
        if waiting is not None:
            self._tell_candidates(call, way, waiting)

    def _count(self, way: Way, passing: Passing) -> None:
        self._count_candidates(way, passing.candidates)
        if passing.left_out:
            self._metrics.sdp_lines_left_out.inc(passing.left_out)

    def _count_candidates(self, way: Way, outcomes: Sequence[Outcome]) -> None:
        # What the sender's node let pass was counted there; here only what does not pass after all is news.
        counts = self._metrics.candidates
        for outcome in outcomes:
            if way.is_first or outcome is not Outcome.PASSED:
                counts[outcome] += 1

    def _tell_candidates(self, call: LocalCall, way: Way, passing: Candidates) -> None:
        self._count_candidates(way, passing.outcomes)
        if not passing.candidates and not passing.complete:
            return
        relayed = wire.CallCandidatesRelayed(
            call_id=way.view.call_id,
            negotiation=passing.number,
            of="peer" if passing.offerer == way.seat else "self",
            candidates=passing.candidates,
            complete=passing.complete,
        )
        self._deliver(call, way.peer, way.to, relayed)

    def _tell_failed(self, call: LocalCall, seat: Seat, offerer: Seat, number: int, code: str) -> None:
        self._deliver(
            call,
            seat,
            call.view.seat(seat),
            wire.CallNegotiationFailed(
                call_id=call.id,
                negotiation=number,
                of="self" if seat == offerer else "peer",
                code=str(code),
            ),
        )

    def _deliver(self, call: LocalCall, seat: Seat, record: SeatRecord, message: ServerMessage) -> None:
        live = self._router.here(record.node_id, record.session_id)
        if live is not None:
            if not live.is_over:
                live.push(message)
            return
        frame = Relayed(call.id, seat, call.view.version, message.TYPE, msgspec.to_builtins(message))
        if record.node_id == self._router.node_id:
            self._router.stray(record.session_id, frame)
        else:
            self._router.forward(record.node_id, frame)


def _as_offer(frame: Relayed) -> RelayMessage:
    return msgspec.convert(frame.data, wire.CallOffer)


def _as_answer(frame: Relayed) -> RelayMessage:
    return msgspec.convert({**frame.data, "of": "peer"}, wire.CallAnswer)


def _as_candidates(frame: Relayed) -> RelayMessage:
    turned = "self" if frame.data.get("of") == "peer" else "peer"
    return msgspec.convert({**frame.data, "of": turned}, wire.CallCandidates)


_AS_SENT: dict[str, Callable[[Relayed], RelayMessage]] = {
    wire.CallOfferRelayed.TYPE: _as_offer,
    wire.CallAnswerRelayed.TYPE: _as_answer,
    wire.CallCandidatesRelayed.TYPE: _as_candidates,
}
"""A relayed message as its sender wrote it, so that both nodes judge the same thing by the same code."""
