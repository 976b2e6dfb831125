"""What is planted into sessions is found: numbers, answers, closes, refusals."""

from dataclasses import replace

import pytest

from tests.chaos.checker import Mode
from tests.chaos.checker_tape import CALL, Tape, evening, kept, on_the_phone, rules


class TestSessions:
    def test_a_missing_number_is_found(self) -> None:
        """A reliable message was lost."""
        tape = evening()
        tape.people[0].seq += 1
        tape.hears(0, "notice")

        assert rules(tape) == {"numbers"}

    def test_a_number_that_comes_again_is_found(self) -> None:
        """A reliable message came twice, as by a replay that began too early."""
        tape = evening()
        tape.loses(0)
        tape.resumes(0)
        tape.people[0].seq -= 1
        tape.hears(0, "notice")

        assert rules(tape) == {"numbers"}

    @pytest.mark.parametrize(
        ("type_", "numbered"),
        [("notice", False), ("queue.status", True), ("ping", True), ("session.drain", True)],
    )
    def test_a_number_where_none_belongs_or_none_where_one_does_is_found(
        self, type_: str, numbered: bool
    ) -> None:
        """What has none may be dropped; what has one is waited for."""
        tape = evening()
        tape.hears(0, type_, numbered=numbered)

        assert rules(tape) == {"numbers"}

    def test_numbers_go_on_over_a_resume(self) -> None:
        """A new socket of the same session goes on counting."""
        tape = evening()
        tape.loses(0)
        tape.resumes(0)
        tape.hears(0, "queue.left", intent="dating", reason="expired")

        assert rules(tape, mode=Mode(sessions_survive=True)) == set()

    def test_a_second_answer_is_found(self) -> None:
        """A request was done twice, or told twice."""
        tape = evening()
        number = tape.done(0, "chat.read", up_to=1)
        tape.hears(0, "ok", answers=number)

        assert rules(tape) == {"replies"}

    def test_a_request_that_nobody_answers_is_found(self) -> None:
        """The socket stood the whole time."""
        tape = evening()
        tape.asks(0, "chat.read", up_to=1)
        tape.wait(10_000)
        tape.notes(0, "the end")

        assert rules(tape) == {"replies"}

    def test_a_request_that_is_forgotten_over_a_resume_is_found(self) -> None:
        """The server says that it has handled it, and its answer is not in the replay."""
        tape = evening()
        number = tape.asks(0, "chat.read", up_to=1)
        tape.loses(0)
        tape.wait(5000)
        tape.resumes(0, last_id=number)
        tape.wait(10_000)
        tape.notes(0, "the end")

        assert rules(tape) == {"replies"}

    def test_a_request_that_never_arrived_and_was_given_up_needs_no_answer(self) -> None:
        """The server has not handled it, and nobody asked again."""
        tape = evening()
        number = tape.asks(0, "chat.read", up_to=1)
        tape.loses(0)
        tape.wait(12_000)
        tape.resumes(0, last_id=number - 1)
        tape.wait(10_000)
        tape.notes(0, "the end")

        assert rules(tape) == set()

    def test_a_request_of_a_session_that_is_lost_needs_no_answer(self) -> None:
        """Its maker is told that the session is gone."""
        tape = evening()
        tape.asks(0, "chat.read", up_to=1)
        tape.loses(0)
        tape.begins(0)
        tape.wait(10_000)
        tape.notes(0, "the end")

        assert rules(tape) == set()

    def test_a_request_may_go_unanswered_while_the_servers_are_away(self) -> None:
        """The run says when."""
        tape = evening()
        tape.asks(0, "chat.read", up_to=1)
        tape.wait(10_000)
        tape.notes(0, "the end")

        assert rules(tape, mode=Mode(away=[(tape.at_ms - 5000, tape.at_ms)])) == set()

    @pytest.mark.parametrize("code", [4000, 4007, 4500, 4502, 1002, 1011])
    def test_a_close_that_no_good_client_deserves_is_found(self, code: int) -> None:
        """The server failed, or blames the client."""
        tape = evening()
        tape.loses(1, code)

        assert rules(tape) == {"closes"}

    @pytest.mark.parametrize("code", [None, 4001, 4002, 4003, 4006])
    def test_a_close_after_which_one_comes_back_is_no_fault(self, code: int | None) -> None:
        """Networks end, and so do nodes."""
        tape = evening()
        tape.loses(1, code)

        assert rules(tape) == set()

    def test_not_being_let_in_for_the_moment_is_no_fault(self) -> None:
        """4000 after `unavailable`: the server could not look at who comes, and one comes back."""
        tape = evening()
        tape.loses(1)
        tape.opens(1)
        tape.hears(1, "error", numbered=False, code="unavailable", message="", retryable=True)
        tape.loses(1, 4000)

        assert rules(tape) == set()

    def test_a_session_that_is_lost_without_a_cause_is_found(self) -> None:
        """Where no hub died, a resume has to succeed."""
        tape = evening()
        tape.loses(0)
        tape.opens(0)
        tape.says(0, "session.resume", session_id=tape.people[0].session, last_seq=1)
        tape.hears(0, "session.ready", session_id="another", snapshot={"ticket": None, "call": None})

        assert rules(tape, mode=Mode(sessions_survive=True)) == {"sessions survive"}
        assert rules(tape) == set()

    def test_a_session_that_its_client_has_ended_need_not_be_resumed(self) -> None:
        """The client may not have heard that it was."""
        tape = evening()
        tape.asks(0, "session.end")
        tape.loses(0)
        tape.opens(0)
        tape.says(0, "session.resume", session_id=tape.people[0].session, last_seq=1)
        tape.hears(0, "session.ready", session_id="another", snapshot={"ticket": None, "call": None})

        assert rules(tape, mode=Mode(sessions_survive=True)) == set()

    @pytest.mark.parametrize("resumed", [0, 40])
    def test_a_session_may_be_lost_to_a_node_that_had_no_time_if_few_are(self, resumed: int) -> None:
        """One of one is too many, one of forty is not."""
        tape = evening()
        for _ in range(resumed):
            tape.loses(1)
            tape.resumes(1)
        tape.loses(0)
        tape.opens(0)
        tape.says(0, "session.resume", session_id=tape.people[0].session, last_seq=1)
        tape.wait(1000)
        tape.hears(0, "session.ready", session_id="another", snapshot={"ticket": None, "call": None})

        expected = set() if resumed else {"sessions survive"}
        assert rules(tape, mode=Mode(sessions_survive=True)) == expected


class TestRefusals:
    @pytest.mark.parametrize(
        "code", ["internal", "invalid_message", "forbidden_role", "wrong_device", "no_such_code"]
    )
    def test_a_refusal_that_nothing_explains_is_found(self, code: str) -> None:
        """A script that does nothing wrong is not told that it did."""
        tape = on_the_phone()
        tape.refused(0, "video.approve", code, call_id=CALL)
        tape.comes_to_its_end()

        assert rules(tape) == {"refusals"}

    def test_a_retryable_refusal_is_no_fault(self) -> None:
        """It may come at any time."""
        tape = on_the_phone()
        tape.refused(0, "video.approve", "unavailable", retryable=True, call_id=CALL)
        tape.comes_to_its_end()

        assert rules(tape) == set()

    def test_a_code_that_says_otherwise_of_itself_is_found(self) -> None:
        """Whether a code is retryable stands on one list."""
        tape = on_the_phone()
        tape.refused(0, "video.approve", "unavailable", call_id=CALL)
        tape.comes_to_its_end()

        assert rules(tape) == {"refusals"}

    def test_the_end_of_a_call_that_goes_on_is_found(self) -> None:
        """`call_ended` is true of calls that have ended."""
        tape = Tape()
        tape.connects()
        tape.refused(0, "call.hangup", "call_ended", call_id=CALL)

        assert "refusals" in rules(tape, replace(kept(), calls=[]))

    def test_a_bad_state_in_a_call_that_stands_still_is_found(self) -> None:
        """It is a race only where something moved about then."""
        tape = on_the_phone()
        tape.wait(4000 - tape.at_ms)
        tape.refused(0, "call.media", "bad_state", call_id=CALL, state="connected")
        tape.at_ms = 8000.0
        tape.comes_to_its_end()

        assert "refusals" in rules(tape)

    def test_being_in_a_call_that_nobody_knows_is_found(self) -> None:
        """`in_call` is true of people in calls."""
        tape = evening().wait(20_000)
        tape.refused(0, "queue.join", "in_call", intent="dating")
        tape.wait(20_000)

        assert rules(tape) == {"refusals"}

    def test_being_in_a_call_of_whose_end_one_was_told_is_found(self) -> None:
        """Whoever hears of the end is free to queue again at once."""
        tape = evening()
        tape.refused(0, "queue.join", "in_call", intent="dating")
        tape.wait(1000)

        assert rules(tape) == {"refusals"}
        assert rules(tape, mode=Mode(away=[(tape.at_ms - 2000, tape.at_ms)])) == set()

    @pytest.mark.parametrize("is_over", [True, False])
    def test_a_call_that_a_hub_does_not_know_is_excused_once_it_is_over(self, is_over: bool) -> None:
        """A hub that a session has just come to need not know its last call; it has to know the one of now."""
        tape = on_the_phone()
        if is_over:
            tape.comes_to_its_end()
        tape.refused(0, "call.candidates", "not_a_participant", call_id=CALL, negotiation=1)
        if not is_over:
            tape.comes_to_its_end()

        assert rules(tape) == (set() if is_over else {"refusals"})

    def test_a_handshake_that_is_refused_for_good_is_found(self) -> None:
        """The accounts are good ones."""
        tape = evening()
        tape.opens(0)
        tape.hears(0, "error", numbered=False, code="unauthenticated", message="", retryable=False)

        assert rules(tape) == {"refusals"}
