"""Consent to video where nobody decides alone: one asks, the other approves."""

from base.errors import ErrorCode
from signaling.protocol.messages.call import SeatFlags, VideoAllowed, VideoRevoked
from tests.unit.signaling.call.conversation import Conversation
from tests.unit.signaling.call.video_words import allowed, approve, ask, deny, revoke


def test_in_a_mutual_call_one_asks_and_the_other_approves() -> None:
    """Both have wanted it."""
    talk = Conversation.live(mutual=True)

    talk.does(ask("a"))
    talk.does(approve("b"))

    assert allowed(talk) == (True, True)


def test_nobody_approves_their_own_request() -> None:
    """Nor denies it."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))

    assert talk.is_refused(approve("a")) is ErrorCode.NO_PENDING_REQUEST
    assert talk.is_refused(deny("a")) is ErrorCode.NO_PENDING_REQUEST


def test_in_a_mutual_call_one_alone_opens_nothing() -> None:
    """An invitation would be one side's decision."""
    assert Conversation.live(mutual=True).is_refused(approve("a")) is ErrorCode.NO_PENDING_REQUEST


def test_a_late_approval_in_a_mutual_call_opens_nothing() -> None:
    """The request has run out, also before its timer has fired."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))

    assert talk.later(20).is_refused(approve("b")) is ErrorCode.NO_PENDING_REQUEST


def test_crossed_requests_wait_for_a_clear_yes() -> None:
    """Wanting to ask is not yet consenting to what the other asks."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))

    assert talk.is_refused(ask("b")) is ErrorCode.ALREADY_REQUESTED


def test_one_who_was_denied_does_not_keep_the_other_from_asking() -> None:
    """Requests and cooldown are counted per seat."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))
    talk.does(deny("b"))

    talk.does(ask("b"))

    assert talk.is_refused(ask("a")) is ErrorCode.ALREADY_REQUESTED
    assert talk.call.video_request is not None
    assert talk.call.video_request.by == "b"


def test_receive_in_a_mutual_call_lets_only_who_asked_send() -> None:
    """The approver sees and is not seen, and may ask for more later."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))
    talk.does(approve("b", "receive"))
    assert allowed(talk) == (True, False)

    talk.does(ask("b"))
    talk.does(approve("a"))

    assert allowed(talk) == (True, True)


def test_swapping_who_sends_needs_both_and_awaits_the_end_of_the_old_video() -> None:
    """`a` sent; now `b` asks and `a` only receives: one direction opens while the other closes."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))
    talk.does(approve("b", "receive"))
    talk.does(ask("b"))

    talk.does(approve("a", "receive"))

    assert allowed(talk) == (False, True)
    assert talk.a.video_off_at is not None
    assert talk.told("a", VideoRevoked)[-1].video_allowed == SeatFlags(a=False, b=False)
    assert talk.told("a", VideoAllowed)[-1].video_allowed == SeatFlags(a=False, b=True)


def test_either_narrows_a_mutual_call_alone() -> None:
    """To stop being seen needs nobody's consent."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))
    talk.does(approve("b"))

    talk.does(approve("a", "receive"))

    assert allowed(talk) == (False, True)


def test_a_revocation_withdraws_the_own_request() -> None:
    """Or the other's yes would open what was just taken back."""
    talk = Conversation.live(mutual=True)
    talk.does(ask("a"))

    talk.does(revoke("a"))

    assert talk.is_refused(approve("b")) is ErrorCode.NO_PENDING_REQUEST
