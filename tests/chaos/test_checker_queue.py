"""What is planted into the queue is found: matches without a place, places that are gone."""

from dataclasses import replace

import pytest

from tests.chaos.checker import Mode
from tests.chaos.checker_tape import CALL, SERVER_MS, Tape, evening, kept, kept_otherwise, rules


class TestTheQueue:
    def test_a_match_without_a_place_is_found(self) -> None:
        """The ticket was matched before, and nobody gave it back."""
        tape = evening()
        tape.matched(0, call="call-2")

        assert "matched once" in rules(tape)

    def test_a_returned_ticket_may_be_matched_again(self) -> None:
        """It counts again."""
        tape = Tape()
        for who in (0, 1):
            tape.begins(who)
            tape.joins(who, f"ticket-{who}")
        tape.matched()
        for who in (0, 1):
            tape.hears(who, "call.ended", call_id=CALL, reason="cancelled", duration_ms=0, requeued=True)
        tape.matched(call="call-2")
        for who in (0, 1):
            tape.hears(who, "call.ended", call_id="call-2", reason="no_answer", duration_ms=0, requeued=False)
        base = kept_otherwise(
            reason="cancelled", live_at=None, duration_ms=0, ended_at=SERVER_MS + 20, connected=False
        ).calls[0]
        second = replace(
            base, id="call-2", reason="no_answer", created_at=SERVER_MS + 25, ended_at=SERVER_MS + 30
        )

        assert rules(tape, replace(kept(), calls=[base, second], messages=[])) == set()

    def test_an_answer_may_come_after_the_match_that_it_led_to(self) -> None:
        """`match.found` overtakes the `ok` of its join."""
        tape = Tape()
        tape.begins(0)
        tape.begins(1)
        number = tape.asks(0, "queue.join", intent="dating")
        tape.joins(1, "ticket-1")
        tape.matched()
        tape.hears(0, "ok", answers=number, ticket_id="ticket-0", queued_at=1)
        for who in (0, 1):
            tape.hears(who, "call.ended", call_id=CALL, reason="no_answer", duration_ms=0, requeued=False)

        ended = kept_otherwise(
            reason="no_answer", live_at=None, duration_ms=0, ended_at=SERVER_MS + 20, connected=False
        )
        assert rules(tape, replace(ended, messages=[])) == set()

    def test_a_place_that_is_just_gone_is_found(self) -> None:
        """Asked once more, the queue gives another ticket, and nobody was told of the end of the first."""
        tape = evening()
        tape.joins(0, "ticket-2")
        tape.joins(0, "ticket-3")
        tape.done(0, "queue.leave")

        assert rules(tape) == {"places"}

    @pytest.mark.parametrize("matched", [True, False])
    def test_a_place_may_have_gone_with_a_match_that_nobody_came_to_show(self, matched: bool) -> None:
        """By history there was one, which was given up; where nobody was away it has to be shown all the same."""
        tape = evening()
        tape.joins(0, "ticket-2")
        begun = tape.now
        tape.joins(0, "ticket-3")
        tape.done(0, "queue.leave")
        away = Mode(away=[(0, tape.at_ms)])
        unseen = replace(
            kept().calls[0],
            id="call-2",
            created_at=begun,
            users={"a": "user-0", "b": "user-9"},
            reason="no_answer",
            live_at=None,
            ended_at=begun,
            duration_ms=0,
            connected=False,
        )
        readings = replace(kept(), calls=[*kept().calls, unseen] if matched else kept().calls)

        assert ("places" in rules(tape, readings, away)) is not matched
        assert "places" in rules(tape, readings)

    def test_a_place_that_another_session_does_not_find_is_found(self) -> None:
        """The device takes over what it was doing."""
        tape = evening()
        tape.joins(0, "ticket-2")
        tape.loses(0)
        tape.begins(0)

        assert rules(tape) == {"places"}

    def test_a_place_that_waited_too_long_for_its_device_may_be_gone(self) -> None:
        """It is kept for a while only."""
        tape = evening()
        tape.joins(0, "ticket-2")
        tape.loses(0)
        tape.wait(20_000)
        tape.begins(0)

        assert rules(tape) == set()

    def test_a_place_may_be_gone_after_a_resume_that_came_too_late(self) -> None:
        """The join that follows it at once may be answered before the word of the old place's end."""
        tape = evening()
        tape.joins(0, "ticket-2")
        tape.loses(0)
        tape.wait(20_000)
        tape.resumes(0)
        tape.joins(0, "ticket-3")
        tape.done(0, "queue.leave")

        assert rules(tape) == set()

    def test_a_place_that_is_left_or_given_up_with_a_word_is_no_fault(self) -> None:
        """Each join has an end."""
        tape = evening()
        tape.joins(0, "ticket-2")
        tape.done(0, "queue.leave")
        tape.joins(0, "ticket-3")
        tape.hears(0, "queue.left", intent="dating", reason="expired")

        assert rules(tape) == set()

    def test_a_place_that_lasts_beyond_the_end_is_found(self) -> None:
        """Everybody went home, but one was never told anything."""
        tape = evening()
        tape.joins(0, "ticket-2")

        assert rules(tape) == {"places"}
