"""More time: asking, agreeing, and how often."""

import pytest

from base.errors import ErrorCode
from signaling.call import events
from signaling.call.states import State
from signaling.protocol.messages.call import CallExtendRequested
from tests.unit.signaling.call.conversation import START_MS, Conversation

ask = events.ExtensionRequested


def test_either_asks_and_the_other_hears_until_when_it_stands() -> None:
    """15 s; the clock does not move yet."""
    talk = Conversation.live()
    ends_at = talk.call.ends_at

    reply = talk.does(ask("b")).reply

    until_at = talk.now_ms + 15_000
    assert talk.told("a", CallExtendRequested) == [
        CallExtendRequested(call_id=talk.call.call_id, until_at=until_at)
    ]
    assert talk.told("b", CallExtendRequested) == []
    assert reply == {"until_at": until_at}
    assert talk.call.ends_at == ends_at


def test_agreeing_puts_the_clock_forward() -> None:
    """By another `call_seconds`, from where it stood."""
    talk = Conversation.live(after=100)
    talk.does(ask("a"))

    reply = talk.does(events.ExtensionAnswered("b", accept=True)).reply

    assert talk.call.ends_at == START_MS + 360_000
    assert reply == {"ends_at": talk.call.ends_at}
    assert talk.passes(240).state() is State.LIVE
    assert talk.passes(20).state() is State.DECIDING


def test_declining_closes_the_question() -> None:
    """The clock stays; a second answer finds nothing."""
    talk = Conversation.live()
    ends_at = talk.call.ends_at
    talk.does(ask("a"))

    talk.does(events.ExtensionAnswered("b", accept=False))

    assert talk.call.ends_at == ends_at
    assert talk.is_refused(events.ExtensionAnswered("b", accept=True)) is ErrorCode.NO_PENDING_EXTENSION


def test_crossed_requests_agree() -> None:
    """Two who ask have both said yes."""
    talk = Conversation.live()
    talk.does(ask("a"))

    talk.does(ask("b"))

    assert talk.call.ends_at == START_MS + 360_000
    assert talk.call.extension_request is None


def test_asking_again_gives_the_same_answer() -> None:
    """A retry neither prolongs the question nor asks twice."""
    talk = Conversation.live()
    first = talk.does(ask("a")).reply

    second = talk.later(5).does(ask("a")).reply

    assert first == second
    assert len(talk.told("b", CallExtendRequested)) == 1


def test_nobody_answers_their_own_question() -> None:
    """It would be one side's decision."""
    talk = Conversation.live()
    talk.does(ask("a"))

    assert talk.is_refused(events.ExtensionAnswered("a", accept=True)) is ErrorCode.NO_PENDING_EXTENSION


def test_a_question_lapses_after_fifteen_seconds() -> None:
    """Late answers find nothing, also before the timer has fired; then one may ask anew."""
    talk = Conversation.live()
    talk.does(ask("a"))
    late = events.ExtensionAnswered("b", accept=True)

    assert talk.later(15).is_refused(late) is ErrorCode.NO_PENDING_EXTENSION
    talk.passes(0)
    assert talk.call.extension_request is None
    assert talk.is_refused(late) is ErrorCode.NO_PENDING_EXTENSION
    talk.does(ask("a"))
    assert len(talk.told("b", CallExtendRequested)) == 2


def test_a_question_lapses_with_the_clock() -> None:
    """There is no call left to extend."""
    talk = Conversation.live(after=170)

    talk.does(ask("a"))

    assert talk.call.extension_request is not None
    assert talk.call.extension_request.until_at == talk.call.ends_at
    assert talk.later(10).is_refused(events.ExtensionAnswered("b", accept=True)) is (
        ErrorCode.NO_PENDING_EXTENSION
    )
    assert talk.passes(0).state() is State.DECIDING


def test_a_call_is_extended_twice_at_most() -> None:
    """Counted are extensions, not questions."""
    talk = Conversation.live()
    for _ in range(2):
        talk.does(ask("a"))
        talk.does(events.ExtensionAnswered("b", accept=False))
        talk.does(ask("a"))
        talk.does(events.ExtensionAnswered("b", accept=True))

    assert talk.is_refused(ask("a")) is ErrorCode.LIMIT_REACHED
    assert talk.call.ends_at == START_MS + 3 * 180_000


@pytest.mark.parametrize("event", [ask("a"), events.ExtensionAnswered("a", accept=True)])
def test_time_is_not_bargained_for_while_one_side_is_away(event: events.Event) -> None:
    """`peer_reconnecting`."""
    assert Conversation.reconnecting().is_refused(event) is ErrorCode.PEER_RECONNECTING


def test_a_question_outlives_a_short_loss() -> None:
    """Asked, lost, found again: the other may still say yes."""
    talk = Conversation.live()
    talk.does(ask("a"))
    talk.does(events.MediaDisconnected("b"))
    talk.later(5).does(events.MediaConnected("b", answer_relayed=True))

    talk.does(events.ExtensionAnswered("b", accept=True))

    assert talk.call.extensions == 1
