"""From a match to both having taken the call."""

import pytest

from base.errors import ErrorCode
from base.policy import Control, Gender, IntentPolicy
from signaling.call import events
from signaling.call.create import propose
from signaling.call.effects import ReleaseTicket, RememberPartners, ReturnTicket, SendIceServers
from signaling.call.states import EndReason, Role, Seat, State
from signaling.protocol.messages.call import CallEnded
from tests.unit.signaling.call.conversation import (
    START_MS,
    Conversation,
    attached,
    detached,
    match,
    session_ended,
)


@pytest.mark.parametrize(
    ("control", "genders", "roles"),
    [
        (Control.FEMALE, (Gender.FEMALE, Gender.MALE), (Role.CONTROLLER, Role.GUEST)),
        (Control.FEMALE, (Gender.MALE, Gender.FEMALE), (Role.GUEST, Role.CONTROLLER)),
        (Control.FEMALE, (Gender.OTHER, Gender.FEMALE), (Role.GUEST, Role.CONTROLLER)),
        (Control.FEMALE, (Gender.FEMALE, Gender.FEMALE), (Role.MUTUAL, Role.MUTUAL)),
        (Control.FEMALE, (Gender.MALE, Gender.MALE), (Role.MUTUAL, Role.MUTUAL)),
        (Control.FEMALE, (Gender.MALE, Gender.OTHER), (Role.MUTUAL, Role.MUTUAL)),
        (Control.MUTUAL, (Gender.FEMALE, Gender.MALE), (Role.MUTUAL, Role.MUTUAL)),
    ],
)
def test_the_only_woman_of_a_pair_controls_where_the_policy_says_so(
    control: Control, genders: tuple[Gender, Gender], roles: tuple[Role, Role]
) -> None:
    """The role follows from policy and genders, whichever seat she has."""
    call = propose(match(*genders), IntentPolicy(control=control), START_MS)

    assert (call.a.role, call.b.role) == roles


def test_a_proposed_call_waits_for_both_for_ten_seconds() -> None:
    """A new record is version 1, with the state's deadline as its only timer."""
    call = propose(match(), IntentPolicy(), START_MS)

    assert call.state is State.PROPOSED
    assert call.version == 1
    assert call.next_deadline_at == START_MS + 10_000


def test_the_first_acceptance_only_waits() -> None:
    """One of two: nothing is sent, the state stays."""
    talk = Conversation.proposed()

    talk.does(events.Accepted("b"))

    assert talk.state() is State.PROPOSED
    assert talk.done == []


def test_the_second_acceptance_begins_to_connect_and_sends_ice_servers() -> None:
    """Both in: `connecting` for 20 s, and only now do both learn the relays."""
    talk = Conversation.proposed()

    talk.does(events.Accepted("b"))
    talk.later(4).does(events.Accepted("a"))

    assert talk.state() is State.CONNECTING
    assert talk.call.next_deadline_at == START_MS + 24_000
    assert talk.done == [SendIceServers("a"), SendIceServers("b")]


def test_accepting_again_changes_nothing() -> None:
    """A retried acceptance is `ok`, before and after the other's, and long after."""
    talk = Conversation.proposed()
    talk.does(events.Accepted("a"))

    assert talk.ignores(events.Accepted("a"))
    for later in (Conversation.connecting(), Conversation.live(), Conversation.reconnecting()):
        assert later.ignores(events.Accepted("a"))


@pytest.mark.parametrize("event", [events.Declined("a"), events.HungUp("a"), session_ended("a")])
def test_refusing_a_proposal_sends_the_other_back_to_the_queue(event: events.Event) -> None:
    """Decline, hangup and the end of the session are the same here; only the innocent keeps the place."""
    talk = Conversation.proposed()
    talk.does(events.Accepted("b"))

    talk.does(event)

    assert talk.state() is State.ENDED
    assert talk.call.reason is EndReason.DECLINED
    assert talk.effects(ReturnTicket) == [ReturnTicket("b")]
    assert talk.effects(ReleaseTicket) == [ReleaseTicket("a")]
    assert [message.requeued for message in talk.told("b", CallEnded)] == [True]
    assert [message.requeued for message in talk.told("a", CallEnded)] == [False]


def test_the_two_are_kept_apart_before_anybody_queues_again() -> None:
    """Or the same pair would be matched at once."""
    talk = Conversation.proposed()

    talk.does(events.Declined("a"))

    assert talk.done.index(RememberPartners()) < talk.done.index(ReturnTicket("b"))


@pytest.mark.parametrize("accepted", [(), ("a",), ("b",)])
def test_without_an_answer_only_who_accepted_goes_back(accepted: tuple[Seat, ...]) -> None:
    """Ten seconds pass: `no_answer`."""
    talk = Conversation.proposed()
    for seat in accepted:
        talk.does(events.Accepted(seat))

    talk.passes(10)

    assert talk.call.reason is EndReason.NO_ANSWER
    assert talk.effects(ReturnTicket) == [ReturnTicket(seat) for seat in accepted]
    assert (talk.a.requeued, talk.b.requeued) == ("a" in accepted, "b" in accepted)


def test_declining_is_for_proposals_only() -> None:
    """Afterwards one hangs up."""
    assert Conversation.connecting().is_refused(events.Declined("a")) is ErrorCode.BAD_STATE
    assert Conversation.live().is_refused(events.Declined("a")) is ErrorCode.BAD_STATE


def test_a_partner_who_cannot_be_brought_in_ends_it_for_both() -> None:
    """Step 2 of match-to-call failed for `a`: `b` goes back."""
    talk = Conversation.proposed()

    talk.does(events.PartnerUnavailable("a"))

    assert talk.call.reason is EndReason.CANCELLED
    assert talk.effects(ReturnTicket) == [ReturnTicket("b")]


def test_somebody_kept_out_by_a_block_goes_back_too() -> None:
    """The block came between match and call: neither has done anything wrong, and they do not meet."""
    talk = Conversation.proposed()

    talk.does(events.PartnerUnavailable("a", still_waiting=True))

    assert talk.effects(ReturnTicket) == [ReturnTicket("a"), ReturnTicket("b")]


def test_a_late_word_that_a_partner_is_unavailable_means_nothing() -> None:
    """Once they talk, both are plainly there."""
    assert Conversation.live().ignores(events.PartnerUnavailable("a"))
    assert Conversation.ended().ignores(events.PartnerUnavailable("a"))


def test_sockets_come_and_go_without_changing_a_proposal() -> None:
    """The deadline decides, not the network."""
    talk = Conversation.proposed()

    away = talk.does(detached("a")).call
    back = talk.does(attached("a", node="node-elsewhere")).call

    assert talk.state() is State.PROPOSED
    assert (away.a.attached, back.a.attached) == (False, True)
    assert talk.a.node_id == "node-elsewhere"
    assert talk.call.next_deadline_at == START_MS + 10_000


def test_another_device_cannot_take_the_seat() -> None:
    """Queue and call belong to the device that joined."""
    talk = Conversation.proposed()
    foreign = events.SeatAttached("a", talk.a.session_id, talk.a.node_id, talk.b.device_id)

    assert talk.is_refused(foreign) is ErrorCode.WRONG_DEVICE
