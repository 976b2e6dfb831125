"""Records that no longer follow from each other: what goes on, whoever meets whom first."""

from dataclasses import replace

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from base.errors import ErrorCode
from base.policy import IpPrivacy
from signaling.call import events
from signaling.call.consent import entries, genesis, hashes, head
from signaling.call.merge import lacks, merge, reconcile
from signaling.call.record import Call, ConsentKind, decode, encode
from signaling.call.states import RELAYING, SEATS, EndReason, State
from signaling.call.view import view_version
from tests.unit.signaling.call.conversation import Conversation, wants_connection
from tests.unit.signaling.call.occurrences import MOSTLY_GOING_ON
from tests.unit.signaling.call.random_steps import Step, proceed, starts, steps, thorough, waits

few = st.lists(st.builds(Step, wait_ms=waits, event=st.sampled_from(MOSTLY_GOING_ON)), max_size=12)
OVER = (State.DECIDING, State.ENDED)


def branch(talk: Conversation, script: list[Step]) -> Call:
    """What becomes of a call that somebody goes on with alone."""
    apart = replace(talk, done=[])
    for step in script:
        proceed(apart, step)
    return apart.call


@st.composite
def forks(draw: st.DrawFn, count: int = 2) -> list[Call]:
    """Records with a common past, each with a future of its own; some lost a bit of the past."""
    talk = draw(starts)
    past = [talk.call]
    for step in draw(few):
        proceed(talk, step)
        past.append(talk.call)
    found = []
    for _ in range(count):
        begin = draw(st.sampled_from(past[-3:]))
        found.append(branch(replace(talk, call=begin), draw(few)))
    return found


def permits(call: Call) -> set[str]:
    """What may flow."""
    flows = {f"video of {seat}" for seat in SEATS if call.seat(seat).video_allowed}
    return flows | ({"relays"} if call.state in RELAYING else set())


@thorough
@given(forks(3))
def test_it_does_not_matter_who_comes_first_or_twice(calls: list[Call]) -> None:
    """Commutative, associative and idempotent, to the byte."""
    one, two, three = calls

    assert merge(one, one) == one
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(merge(one, two), one) == merge(one, two)
    assert decode(encode(merge(one, two))) == merge(one, two)


@thorough
@given(forks())
def test_what_either_had_closed_stays_closed(calls: list[Call]) -> None:
    """No video that one of them forbids, no relay in a call that is over in one of them, no question only one knows."""
    one, two = calls
    whole = merge(one, two)

    if one.state in OVER or two.state in OVER:
        assert whole.state in OVER
        assert permits(whole) == set()
    else:
        assert permits(whole) - {"relays"} <= permits(one) & permits(two)
    assert whole.state is State.ENDED or State.ENDED not in (one.state, two.state)
    assert whole.video_request is None or whole.video_request == one.video_request == two.video_request
    for seat in SEATS:
        assert whole.seat(seat).freed >= (one.seat(seat).freed and two.seat(seat).freed)
        assert whole.seat(seat).video_requests >= one.seat(seat).video_requests
    assert whole.connected == (one.connected or two.connected)


@thorough
@given(forks())
def test_the_higher_version_goes_on(calls: list[Call]) -> None:
    """Who is where, what was accepted, when the clock ends: of the newer record, whichever is more permissive."""
    one, two = calls
    assume(one.version != two.version)
    newer = max(one, two, key=lambda call: call.version)
    whole = merge(one, two)

    assert whole.version == newer.version
    assert (whole.ends_at, whole.extensions, whole.resets) == (newer.ends_at, newer.extensions, newer.resets)
    for seat in SEATS:
        assert whole.seat(seat).session_id == newer.seat(seat).session_id
        assert whole.seat(seat).node_id == newer.seat(seat).node_id
    if one.state not in OVER and two.state not in OVER:
        assert whole.state is newer.state


@thorough
@given(forks())
def test_what_comes_of_both_lacks_nothing_and_says_what_it_closed(calls: list[Call]) -> None:
    """The next version of both: whoever told either can go on with it, and its log is whole."""
    told, record = calls
    now_ms = 1_700_000_900_000
    whole = reconcile(told, record, now_ms)

    assert whole.version == max(told.version, record.version) + 1
    assert not lacks(whole, told)
    assert not lacks(whole, record)
    assert permits(whole) <= permits(told) | permits(record)
    for seat in SEATS:
        assert view_version(whole, seat) > max(view_version(told, seat), view_version(record, seat))
    chain = hashes(whole, entries(whole))
    assert head(whole) == (chain[-1] if chain else genesis(whole.call_id, whole.a.user_id, whole.b.user_id))
    assert set(told.events) | set(record.events) <= set(whole.events)
    for seat in SEATS:
        said = [event.kind for event in whole.events if event.sender == seat]
        if whole.state not in OVER:
            mine, kinds = whole.seat(seat), (ConsentKind.VIDEO_ALLOWED, ConsentKind.VIDEO_REVOKED)
            was_on = told.seat(seat).video_allowed or record.seat(seat).video_allowed
            assert mine.video_allowed is False or said[-1] is kinds[0]
            assert (
                mine.video_allowed or not was_on or (said[-1] is kinds[1] and mine.video_off_at is not None)
            )
    assert (whole.next_deadline_at is None) == (whole.state is State.ENDED)


@thorough
@given(starts, steps, st.integers(0, 40))
def test_a_record_that_follows_from_what_was_told_lacks_nothing(
    talk: Conversation, script: list[Step], told_at: int
) -> None:
    """Whatever is decided lawfully, a permission given anew among it, is no loss."""
    told = talk.call
    for number, step in enumerate(script):
        # Two things that a person does lie more than a millisecond apart.
        talk.later(0.002)
        proceed(talk, step)
        if number == told_at:
            told = talk.call
        if number >= told_at:
            assert not lacks(talk.call, told)


def with_video() -> Conversation:
    talk = Conversation.live(after=60)
    talk.does(events.VideoApproved("a", "both"))
    return talk.later(1)


def test_a_revocation_that_was_lost_is_missed() -> None:
    """Also where the record has gone on without it; and no more where she has allowed it again since."""
    talk = with_video()
    before = replace(talk, done=[])
    talk.does(events.VideoRevoked("a"))
    before.does(events.ExtensionRequested("b"))
    before.does(events.ExtensionAnswered("a", accept=True))

    assert lacks(before.call, talk.call)
    whole = reconcile(talk.call, before.call, talk.now_ms)
    assert permits(whole) == {"relays"}
    assert whole.version == before.call.version + 1
    assert whole.extensions == 1
    anew = replace(before, call=reconcile(talk.call, before.call, talk.now_ms)).later(1)
    anew.does(events.VideoApproved("a", "both"))
    assert not lacks(anew.call, talk.call)


def test_a_lost_revocation_is_missed_though_clocks_went_back() -> None:
    """The store's time may jump with a failover: the yes is dated later than the no that came after it."""
    talk = with_video()
    before = replace(talk, done=[]).later(1)
    before.does(events.ExtensionRequested("b"))
    before.does(events.ExtensionAnswered("a", accept=True))
    talk.later(-5).does(events.VideoRevoked("a"))

    assert talk.call.events[-1].at < talk.call.events[0].at
    assert lacks(before.call, talk.call)


def test_refusals_that_only_the_shorter_log_has_are_kept() -> None:
    """Once, behind the rest, however often the two are brought together; the chain holds."""
    talk = with_video()
    other = replace(talk, done=[])
    talk.does(events.RelayRefused("b", ErrorCode.VIDEO_NOT_ALLOWED, 3))
    other.does(events.VideoRevoked("b"))

    whole = reconcile(talk.call, other.call, talk.now_ms)
    again = reconcile(talk.call, whole, talk.now_ms)

    assert [(line.code, line.count) for line in whole.refused] == [("video_not_allowed", 3)]
    assert again.refused == whole.refused
    assert hashes(again, entries(again))[-1] == head(again)


def test_the_end_that_was_lost_is_missed() -> None:
    """A block that the store has forgotten: the call is over again, as it was told."""
    talk = with_video()
    alive = branch(talk, [Step(0, events.ExtensionRequested("b"))])
    talk.does(events.Blocked("a"))

    assert lacks(alive, talk.call)
    whole = reconcile(talk.call, alive, talk.now_ms)
    assert (whole.state, whole.reason, whole.ended_at) == (State.ENDED, EndReason.HANGUP, talk.call.ended_at)
    assert whole.a.freed
    assert whole.b.freed


def test_a_permission_that_the_store_lost_has_to_be_given_again() -> None:
    """It was told, so video may flow: it gets the time that a revocation has, and the log says that it is off."""
    talk = Conversation.live(after=60)
    lost = talk.call
    talk.does(events.VideoApproved("a", "both"))

    whole = reconcile(talk.call, lost, talk.now_ms + 50)

    assert permits(whole) == {"relays"}
    assert whole.a.video_off_at == whole.b.video_off_at == talk.now_ms + 50 + 5_000
    assert [event.kind for event in whole.events] == [ConsentKind.VIDEO_ALLOWED] * 2 + [
        ConsentKind.VIDEO_REVOKED
    ] * 2


def test_a_window_that_the_newer_record_has_closed_is_closed() -> None:
    """A node that is one change behind must not open it again: nobody would have an answer to give."""
    talk = with_video()
    talk.does(events.VideoRevoked("b"))
    behind = talk.call
    talk.does(events.VideoStopped())

    assert reconcile(behind, talk.call, talk.now_ms).a.video_off_at is None


def test_a_connection_that_was_made_stays_made() -> None:
    """She was told that they stay in touch; a record that has forgotten it learns it again, with its id."""
    talk = Conversation.live(after=60)
    lost = talk.call
    talk.does(wants_connection("a"))

    whole = reconcile(talk.call, branch(replace(talk, call=lost), []), talk.now_ms)

    assert whole.connected
    assert whole.connection_id == talk.call.connection_id
    assert whole.a.wishes_connection


def test_addresses_that_one_record_hides_are_hidden() -> None:
    """The other was committed by a release that knows no such rule."""
    one = Conversation.live(ip_privacy=IpPrivacy.RELAY).call
    policy = msgspec.structs.replace(one.policy, ip_privacy=None)
    two = msgspec.structs.replace(one, version=one.version + 1, policy=policy)

    assert merge(one, two).policy.hides_addresses
    assert merge(two, one) == merge(one, two)
