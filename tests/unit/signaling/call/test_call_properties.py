"""Whatever happens to a call, in whatever order: what always holds."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given

from signaling.call import events
from signaling.call.change import MAX_CONSENT_EVENTS, MAX_REFUSED_LINES, CallRefused, Decision
from signaling.call.consent import entries, genesis, hashes, head
from signaling.call.effects import (
    CloseMedia,
    Effect,
    OpenConnection,
    ReleaseTicket,
    RememberPartners,
    ReturnTicket,
    Send,
    SettleMatch,
)
from signaling.call.events import COMMANDS, Event
from signaling.call.record import Call, ConsentEvent, ConsentKind, decode, encode
from signaling.call.rules import receive, restrict, restricts
from signaling.call.states import RELAYING, SEATS, Role, Seat, State, other
from signaling.call.view import call_state, must_hear, view_version
from signaling.protocol.messages.call import CallEnded
from tests.unit.signaling.call.conversation import Conversation
from tests.unit.signaling.call.random_steps import Step, proceed, starts, steps, thorough


@thorough
@given(starts, steps)
def test_a_record_always_makes_sense(talk: Conversation, script: list[Step]) -> None:
    """Deadlines, permissions and wishes fit the state and the consent log, after every step."""
    for step in script:
        proceed(talk, step)

        check_record(talk.call)


@thorough
@given(starts, steps)
def test_what_is_refused_changes_nothing_and_what_is_decided_is_decided_alike_everywhere(
    talk: Conversation, script: list[Step]
) -> None:
    """A refusal leaves the record untouched to the byte; the same record, read from the store on another node,
    leads to the same decision; a change counts one version.
    """
    for step in script:
        before, stored = talk.call, encode(talk.call)
        talk.later((step.wait_ms or 0) / 1000)
        first = attempt(before, step.event, talk.now_ms)

        assert encode(before) == stored
        assert decode(stored) == before
        assert attempt(decode(stored), step.event, talk.now_ms) == first
        if not isinstance(first, CallRefusal):
            assert first.call.version - before.version == (first.call is not before)
            talk.call = first.call


@thorough
@given(starts, steps)
def test_every_call_ends_by_time_alone(talk: Conversation, script: list[Step]) -> None:
    """From wherever it stands: firing each timer when it is due reaches the end, within the time that the policy
    leaves; and a timer that has fired is not due again.
    """
    for step in script:
        proceed(talk, step)
    policy = talk.call.policy
    clock_ms = (talk.call.ends_at or 0) - talk.now_ms if talk.call.state in RELAYING else 0
    longest_ms = max(clock_ms, 0) + 1000 * (
        policy.proposed_s + policy.connecting_s + policy.reconnecting_s + policy.deciding_s
    )
    started_ms = talk.now_ms

    for _ in range(12):
        due_at = talk.call.next_deadline_at
        if due_at is None:
            break
        talk.now_ms = max(talk.now_ms, due_at)
        talk.does(events.TimerFired())
        assert talk.ignores(events.TimerFired())
    assert talk.state() is State.ENDED
    assert talk.now_ms - started_ms <= longest_ms


@thorough
@given(starts, steps)
def test_each_seat_is_let_go_exactly_once(talk: Conversation, script: list[Step]) -> None:
    """One ticket returned or released, one `call.ended`, and each of an end's other effects once."""
    # What the way into the starting state did belongs to the count.
    done: list[Effect] = list(setup_effects(talk))
    for step in script:
        proceed(talk, step)
    while (due_at := talk.call.next_deadline_at) is not None:
        talk.now_ms = max(talk.now_ms, due_at)
        talk.does(events.TimerFired())
    done += talk.done

    counts = Counter(type(effect) for effect in done)
    for seat in SEATS:
        tickets = [effect for effect in done if effect in (ReturnTicket(seat), ReleaseTicket(seat))]
        assert tickets == [ReturnTicket(seat) if talk.call.seat(seat).requeued else ReleaseTicket(seat)]
        endings = [
            effect.message.requeued
            for effect in done
            if isinstance(effect, Send) and effect.seat == seat and isinstance(effect.message, CallEnded)
        ]
        assert endings == [talk.call.seat(seat).requeued]
    assert counts[RememberPartners] == 1
    assert counts[SettleMatch] == (talk.call.live_since is not None)
    assert counts[OpenConnection] == talk.call.connected
    assert counts[CloseMedia] <= 1
    if talk.call.live_since is not None:
        assert counts[CloseMedia] == 1
        assert not any(talk.call.seat(seat).requeued for seat in SEATS)


@thorough
@given(starts, steps)
def test_a_seat_notices_exactly_what_it_may_see(talk: Conversation, script: list[Step]) -> None:
    """Its version counts up by one with what it is told, and not at all with what is hidden from it; what is hidden
    shows nowhere.
    """
    for step in script:
        before = talk.call
        proceed(talk, step)
        after = talk.call
        for seat in SEATS:
            rise = view_version(after, seat) - view_version(before, seat)
            assert rise in (0, 1)
            if rise == 0:
                assert call_state(after, seat, 0) == call_state(before, seat, 0)
            told = must_hear(seat, before, after)
            assert told == (rise == 1 and not before.seat(seat).freed)
            if before.seat(seat).freed:
                assert call_state(after, seat, 0).state == "ended"


@thorough
@given(starts, steps)
def test_a_command_sent_again_at_once_does_no_more(talk: Conversation, script: list[Step]) -> None:
    """A retry is answered alike or refused, but never acts a second time.

    Not so where saying it again is another thing: a second failure of media, asking for still more time.
    """
    again = set(COMMANDS) - {events.MediaFailed, events.ExtensionRequested}
    for step in script:
        before = talk.call
        proceed(talk, step)
        if type(step.event) in again and talk.call is not before:
            result = attempt(talk.call, step.event, talk.now_ms)
            assert isinstance(result, CallRefusal) or result.call is talk.call


@thorough
@given(starts, steps)
def test_a_nodes_own_view_is_never_laxer_than_what_is_stored(talk: Conversation, script: list[Step]) -> None:
    """Before a commit nothing is allowed that was not, and nothing relayed that would not be."""
    for step in script:
        before = talk.call
        view = restrict(before, step.event, talk.now_ms)

        assert view.version == before.version
        for seat in SEATS:
            assert view.seat(seat).video_allowed <= before.seat(seat).video_allowed
        assert view.state == before.state or view.state in (State.DECIDING, State.ENDED)
        proceed(talk, step)
        if restricts(before, step.event):
            # It may be told before it is stored, so it must not give anything.
            for seat in SEATS:
                assert talk.call.seat(seat).video_allowed <= before.seat(seat).video_allowed
            assert talk.call.connected == before.connected
        if step.wait_ms == 0 and view.state in RELAYING and restricts(before, step.event):
            # Whatever the step took away, the view had taken away before.
            for seat in SEATS:
                taken = before.seat(seat).video_allowed and not talk.call.seat(seat).video_allowed
                assert not (taken and view.seat(seat).video_allowed)


@dataclass(frozen=True)
class CallRefusal:
    """A refusal as a value that can be compared."""

    code: str
    retry_after_ms: int | None


def attempt(call: Call, event: Event, now_ms: int) -> Decision | CallRefusal:
    try:
        return receive(call, event, now_ms)
    except CallRefused as refused:
        return CallRefusal(refused.code, refused.retry_after_ms)


def setup_effects(talk: Conversation) -> list[Effect]:
    """The effects that led to a conversation's starting state, which its own list has been cleared of."""
    mutual = talk.call.a.role is Role.MUTUAL
    walk = Conversation.proposed(mutual=mutual)
    if talk.call.state is State.PROPOSED:
        return []
    for seat in SEATS:
        walk.does(events.Accepted(seat))
    if talk.call.state is not State.CONNECTING:
        for seat in SEATS:
            walk.does(events.MediaConnected(seat, answer_relayed=True))
    if talk.call.state is State.DECIDING:
        walk.passes(180)
    return walk.done


def check_record(call: Call) -> None:
    over = call.state in (State.DECIDING, State.ENDED)
    assert (call.next_deadline_at is None) == (call.state is State.ENDED)
    assert (call.ended_at is not None) == (call.reason is not None) == (call.state is State.ENDED)
    assert (call.ends_at is not None) == (call.live_since is not None)
    assert (call.closed_at is not None) == (over and call.live_since is not None)
    assert len(call.events) <= MAX_CONSENT_EVENTS
    assert len(call.refused) <= MAX_REFUSED_LINES
    log = entries(call)
    assert head(call) == (hashes(call, log)[-1] if log else genesis(call.call_id, "user-a", "user-b"))
    assert call.extensions <= call.policy.max_extensions
    for seat in SEATS:
        check_video(call, seat)
        record = call.seat(seat)
        assert record.freed == (
            call.state is State.ENDED or (call.state is State.DECIDING and record.role is Role.GUEST)
        )
        assert record.video_requests <= call.policy.max_video_requests
        assert not (record.video_allowed and record.video_off_at is not None)
        assert not (over and record.media_connected)
    if call.state is State.LIVE:
        assert all(call.seat(seat).attached and call.seat(seat).media_connected for seat in SEATS)
    if over:
        assert call.video_request is None
        assert call.extension_request is None
    check_connection(call)


def check_video(call: Call, seat: Seat) -> None:
    """Who may send was allowed to, after whatever was taken back, by somebody who decides that."""
    lines = [line for line in call.events if line.sender == seat]
    if call.seat(seat).video_allowed:
        assert call.state in (State.LIVE, State.RECONNECTING)
        assert lines[-1].kind is ConsentKind.VIDEO_ALLOWED
    for number, line in enumerate(call.events):
        if line.kind is ConsentKind.VIDEO_ALLOWED:
            assert line.by is not None
            check_approval(call, call.events[:number], line.by)


def check_approval(call: Call, earlier: tuple[ConsentEvent, ...], by: Seat) -> None:
    if call.seat(by).role is Role.MUTUAL:
        about_asking = (ConsentKind.VIDEO_ASKED, ConsentKind.VIDEO_DENIED)
        asked = [line for line in earlier if line.kind in about_asking]
        assert asked[-1].kind is ConsentKind.VIDEO_ASKED
        assert asked[-1].by == other(by)
    else:
        assert call.seat(by).role is Role.CONTROLLER


def check_connection(call: Call) -> None:
    """Staying in touch was wished by who decides it, or by both, and nobody had taken it back."""
    assert call.connected == (call.connection_id is not None)
    if not call.connected:
        return
    made = next(n for n, line in enumerate(call.events) if line.kind is ConsentKind.CONNECTED)
    about_wishes = (ConsentKind.CONNECT_WISHED, ConsentKind.CONNECT_PASSED)
    for seat in SEATS:
        if call.seat(seat).role is Role.GUEST:
            continue
        lines = [line for line in call.events[:made] if line.by == seat and line.kind in about_wishes]
        assert lines[-1].kind is ConsentKind.CONNECT_WISHED
