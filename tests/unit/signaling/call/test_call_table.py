"""The table and the rules say the same, in both directions."""

from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import get_args

import msgspec
import pytest

from base.errors import ErrorCode
from signaling.call.change import MAX_CONSENT_EVENTS, CallRefused
from signaling.call.describe import LABELS, MEANINGS
from signaling.call.events import COMMANDS, FACTS, Event, TimerFired, actor
from signaling.call.record import Call, ConsentEvent, ConsentKind, encode
from signaling.call.rules import RESTRICTIONS, receive
from signaling.call.states import Role, State
from signaling.call.table import EVENTS, ROLES, STATE_POLICY, TABLE, Row, default_refusal, find
from tests.unit.signaling.call.conversation import Conversation
from tests.unit.signaling.call.occurrences import MOSTLY_GOING_ON, OCCURRENCES

WALKS = 900
STEPS = 50
WAITS_MS = (0, 0, 0, 0, 500, 5_000, 65_000)


def test_all_events_are_commands_or_facts() -> None:
    """And each has its words in the documentation."""
    kinds = set(get_args(Event))

    assert set(COMMANDS) | set(FACTS) == kinds == set(EVENTS) == set(LABELS)
    assert not set(COMMANDS) & set(FACTS)
    assert set(RESTRICTIONS) <= kinds
    assert {type(event) for event in OCCURRENCES} == kinds


def test_every_state_but_ended_names_the_duration_of_its_deadline() -> None:
    """Nothing else is without one."""
    assert set(STATE_POLICY) == set(State) - {State.ENDED}
    assert set(MEANINGS) == set(State)


def test_no_two_rows_speak_of_the_same() -> None:
    """One state, one event, one role: one row."""
    places = [(state, row.event, role) for row in TABLE for state in row.states for role in row.who]

    assert len(places) == len(set(places))


def test_nothing_leads_out_of_ended() -> None:
    """It is final."""
    for row in TABLE:
        if State.ENDED in row.states:
            assert row.next_states(State.ENDED) == {State.ENDED}


@pytest.mark.parametrize("state", [state for state in State if state is not State.ENDED])
def test_time_leads_out_of_every_other_state(state: State) -> None:
    """Towards the end, never back."""
    row = find(state, TimerFired, None)

    assert row is not None
    assert row.next_states(state) - {state} <= {State.DECIDING, State.ENDED}
    assert State.ENDED in row.next_states(state)


def moments() -> Iterator[tuple[Call, int]]:
    """Records of all kinds with a time at which to try something: from walks at random, and full logs."""
    seen: set[bytes] = set()
    for number in range(WALKS):
        dice = Random(number)
        start = dice.choice(["proposed", "connecting", "live", "live", "reconnecting", "deciding"])
        talk: Conversation = getattr(Conversation, start)(
            mutual=number % 2 == 0,
            decide_after_s=10,
            max_extensions=number % 3,
            max_video_requests=number % 3,
        )
        for _ in range(STEPS):
            talk.later(dice.choice(WAITS_MS) / 1000)
            try:
                talk.does(dice.choice(MOSTLY_GOING_ON))
            except CallRefused:
                continue
            if dice.random() < 0.5:
                talk.passes(0)
            key = encode(msgspec.structs.replace(talk.call, version=0, events=(), refusals={}))
            if key not in seen:
                seen.add(key)
                yield talk.call, talk.now_ms
    line = ConsentEvent(at=0, kind=ConsentKind.VIDEO_ASKED, by="a")
    for mutual in (False, True):
        for state in ("live", "reconnecting", "deciding"):
            talk = getattr(Conversation, state)(mutual=mutual)
            yield msgspec.structs.replace(talk.call, events=(line,) * (MAX_CONSENT_EVENTS - 10)), talk.now_ms


def outcome(call: Call, event: Event, now_ms: int) -> State | ErrorCode | None:
    """The state that follows, the code of the refusal, or `None` where nothing changed at all."""
    try:
        decision = receive(call, event, now_ms)
    except CallRefused as refused:
        return refused.code
    return None if decision.call is call else decision.call.state


def test_rules_do_what_the_table_says_and_the_table_says_what_rules_do() -> None:
    """Every event, by either seat, in records from all over: the outcome is one that the row names, and no row
    names an outcome that never comes. Without a row the event is refused as the table says, or ignored.
    """
    reached: defaultdict[tuple[State, Row], set[State | ErrorCode]] = defaultdict(set)
    for call, now_ms in moments():
        for event in OCCURRENCES:
            for late_ms in (0, 20_000):
                seat = actor(event)
                role = None if seat is None else call.seat(seat).role
                row = find(call.state, type(event), role)
                result = outcome(call, event, now_ms + late_ms)
                where = (call.state, event, role, result)
                if row is None:
                    assert result == default_refusal(call.state, type(event), role), where
                elif isinstance(result, ErrorCode):
                    assert result in row.refuses, where
                    reached[call.state, row].add(result)
                else:
                    assert (result or call.state) in row.next_states(call.state), where
                    reached[call.state, row].add(result or call.state)

    promised = {
        (state, row): {*(row.next_states(state) if row.becomes else ()), *row.refuses}
        for row in TABLE
        for state in row.states
    }
    missing = {
        (state, row.event.__name__, tuple(row.who)): outcomes - reached[state, row]
        for (state, row), outcomes in promised.items()
        if outcomes - reached[state, row]
    }
    assert not missing


@pytest.mark.parametrize("role", Role)
def test_a_role_that_never_decides_something_is_told_so(role: Role) -> None:
    """`forbidden_role` while the call is under way, for exactly what the table of roles keeps from it."""
    for event in COMMANDS:
        if role not in ROLES.get(event, set(Role)):
            for state in (State.PROPOSED, State.CONNECTING, State.LIVE, State.RECONNECTING):
                assert find(state, event, role) is None
                assert default_refusal(state, event, role) is ErrorCode.FORBIDDEN_ROLE
