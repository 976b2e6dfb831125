"""The checker finds what is planted: each rule has a history in which it is broken, and is silent about a good one."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import Mode, check
from tests.chaos.checker_tape import CALL, CHAT, SERVER_MS, Tape, evening, kept, kept_otherwise
from tests.chaos.history import SLOW, History, load, tidy, video_of
from tests.chaos.history_look import brief, of_call
from tests.chaos.readings import KeptMessage, Readings


def rules(tape: Tape, readings: Readings | None = None, mode: Mode | None = None) -> set[str]:
    """Which rules are broken."""
    return {violation.rule for violation in check(tape.history, readings or kept(), mode).violations}


def on_the_phone() -> Tape:
    """The two in a live call."""
    tape = Tape()
    tape.connects()
    return tape


def test_a_good_evening_breaks_no_rule() -> None:
    """Nothing is planted, nothing is found."""
    verdict = check(evening().history, kept(), Mode(sessions_survive=True))

    assert verdict.ok, verdict.report()
    assert verdict.report() == "every promise was kept"


def test_a_report_names_the_rule_and_shows_the_lines() -> None:
    """Whoever reads it finds the place in the history."""
    tape = evening()
    tape.loses(0, 4501)

    report = check(tape.history, kept()).report()

    assert "closes: 1" in report
    assert "closed with 4501" in report
    assert '"code": 4501' in report


class TestSessions:
    def test_a_missing_number_is_found(self) -> None:
        """A reliable message was lost."""
        tape = evening()
        tape.people[0].seq += 1
        tape.hears(0, "queue.status")

        assert rules(tape) == {"numbers"}

    def test_a_number_that_comes_again_is_found(self) -> None:
        """A reliable message came twice, as by a replay that began too early."""
        tape = evening()
        tape.loses(0)
        tape.resumes(0)
        tape.people[0].seq -= 1
        tape.hears(0, "queue.status")

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


class TestTheQueue:
    def test_a_match_without_a_place_is_found(self) -> None:
        """The ticket was matched before, and nobody gave it back."""
        tape = evening()
        tape.hears(
            0, "match.found", call_id="call-2", seat="a", role="mutual", peer={"first_name": "Person 1"}
        )

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
        base = kept_otherwise(reason="cancelled", live_at=None, duration_ms=0, ended_at=SERVER_MS + 20).calls[
            0
        ]
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

        ended = kept_otherwise(reason="no_answer", live_at=None, duration_ms=0, ended_at=SERVER_MS + 20)
        assert rules(tape, replace(ended, messages=[])) == set()

    def test_a_place_that_is_just_gone_is_found(self) -> None:
        """Asked once more, the queue gives another ticket, and nobody was told of the end of the first."""
        tape = evening()
        tape.joins(0, "ticket-2")
        tape.joins(0, "ticket-3")
        tape.done(0, "queue.leave")

        assert rules(tape) == {"places"}

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


class TestCalls:
    def test_a_match_in_the_middle_of_a_call_is_found(self) -> None:
        """One call at a time."""
        tape = on_the_phone()
        tape.joins(0, "ticket-2")
        tape.hears(
            0, "match.found", call_id="call-2", seat="a", role="mutual", peer={"first_name": "Person 1"}
        )
        tape.hears(0, "call.ended", call_id="call-2", reason="declined", duration_ms=0, requeued=False)
        tape.comes_to_its_end()

        assert "one call" in rules(tape)

    def test_a_call_that_is_never_shown_is_found(self) -> None:
        """An app draws nothing of a call that it does not know."""
        tape = evening()
        tape.history.entries = [
            entry for entry in tape.history if entry.type != "match.found" or entry.who == 1
        ]

        assert "shown" in rules(tape)

    def test_two_calls_at_once_in_history_are_found(self) -> None:
        """Also where nobody was told of both."""
        readings = kept()
        other = replace(readings.calls[0], id="call-2", users={"a": "user-0", "b": "user-9"})

        assert rules(evening(), replace(readings, calls=[*readings.calls, other])) == {"one call"}

    def test_a_guest_is_free_while_the_other_decides(self) -> None:
        """For him the call is over when media is."""
        readings = kept_otherwise(ended_at=SERVER_MS + 9000)
        later = replace(
            readings.calls[0],
            id="call-2",
            users={"a": "user-9", "b": "user-1"},
            created_at=SERVER_MS + 6100,
            live_at=None,
            ended_at=SERVER_MS + 6200,
        )

        assert "one call" not in rules(evening(), replace(readings, calls=[*readings.calls, later]))

    def test_a_version_that_goes_back_is_found(self) -> None:
        """Each view is newer than the one before."""
        tape = on_the_phone()
        tape.told(0, 4, "connecting")
        tape.told(0, 6, "live", **tape.clock())
        tape.comes_to_its_end()

        assert "versions" in rules(tape)

    def test_two_views_of_one_version_are_found(self) -> None:
        """A version is one state of affairs."""
        tape = on_the_phone()
        tape.told(0, 5, "reconnecting", **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == {"versions"}

    def test_a_step_that_the_table_does_not_have_is_found(self) -> None:
        """From `live` nothing leads back to `connecting`."""
        tape = on_the_phone()
        tape.told(0, 6, "connecting")
        tape.told(0, 7, "live", **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == {"states"}

    def test_a_record_may_go_back_where_writes_were_lost(self) -> None:
        """The run says when, and only then."""
        tape = on_the_phone()
        tape.told(0, 4, "connecting", **tape.clock())
        tape.told(0, 6, "live", **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape, mode=Mode(lossy=[(0, tape.at_ms)])) == set()

    @pytest.mark.parametrize("type_", ["call.offer", "call.candidates", "video.allowed", "connect.prompt"])
    def test_a_word_after_the_end_is_found(self, type_: str) -> None:
        """Nothing is relayed or asked any more."""
        tape = evening()
        tape.hears(1, type_, call_id=CALL, negotiation=9, video=None, video_allowed={"a": False, "b": False})

        assert "silence" in rules(tape)

    @pytest.mark.parametrize("type_", ["call.candidates", "video.allowed"])
    def test_a_relay_while_there_is_only_something_to_decide_is_found(self, type_: str) -> None:
        """Media is over."""
        tape = on_the_phone()
        tape.wait(5000)
        tape.told(0, 8, "deciding")
        tape.hears(0, type_, call_id=CALL, negotiation=1, video_allowed={"a": False, "b": False})
        tape.comes_to_its_end()

        assert "silence" in rules(tape)

    def test_an_end_that_is_told_twice_is_found(self) -> None:
        """Once is enough, and the second time otherwise is worse."""
        tape = evening()
        tape.hears(1, "call.ended", call_id=CALL, reason="completed", duration_ms=5900, requeued=False)

        assert rules(tape) == {"silence"}

    def test_the_wrong_peer_is_found(self) -> None:
        """Each is shown the other, and nobody else."""
        tape = evening()

        assert rules(tape, replace(kept(), names=["Person 0", "Somebody else"])) == {"two sides"}

    def test_two_people_on_one_seat_are_found(self) -> None:
        """There are two seats."""
        tape = evening()
        for entry in tape.history:
            if entry.who == 1 and "seat" in entry.body:
                entry.data["data"]["seat"] = "a"

        assert "two sides" in rules(tape)

    def test_a_call_that_history_does_not_have_is_found(self) -> None:
        """Every call leaves its facts."""
        assert rules(evening(), replace(kept(), calls=[])) >= {"history"}

    @pytest.mark.parametrize(
        "otherwise",
        [
            {"reason": "hangup"},
            {"duration_ms": 10},
            {"users": {"a": "user-1", "b": "user-0"}},
            {"roles": {"a": "mutual", "b": "mutual"}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_history_that_tells_it_otherwise_is_found(self, otherwise: dict[str, object]) -> None:
        """What was told is what is kept."""
        assert "history" in rules(evening(), kept_otherwise(**otherwise))

    def test_history_may_have_another_end_while_a_hub_could_not_store_what_it_told(self) -> None:
        """A hangup binds at once; what is stored, another hub or the clock may have ended meanwhile."""
        tape = evening()
        away = Mode(away=[(5000, 6500)])

        assert rules(tape, kept_otherwise(duration_ms=6300), away) == set()
        assert rules(tape, kept_otherwise(duration_ms=5000), away) == set()
        assert rules(tape, kept_otherwise(duration_ms=6300)) >= {"history"}

    def test_a_clock_that_runs_over_is_found(self) -> None:
        """A second after its deadline, at most, whoever is there knows."""
        tape = on_the_phone()
        tape.at_ms = 9000.0
        tape.comes_to_its_end()

        assert "deadlines" in rules(tape, kept_otherwise(ended_at=SERVER_MS + 9000))

    def test_what_came_late_because_we_were_slow_is_nobodys_fault(self) -> None:
        """The swarm notes when it did not come to hear."""
        tape = on_the_phone()
        tape.at_ms = 9000.0
        tape.history.fault("placeholder")
        tape.history.entries[-1] = replace(
            tape.history.entries[-1], at_ms=8900.0, kind="note", data={"what": SLOW, "ms": 2500}
        )
        tape.comes_to_its_end()

        assert "deadlines" not in rules(tape, kept_otherwise(ended_at=SERVER_MS + 9000))

    def test_a_deadline_is_nothing_to_one_who_is_away(self) -> None:
        """Who has no socket hears it when they are back."""
        tape = on_the_phone()
        for who in (0, 1):
            tape.loses(who)
        tape.at_ms = 9000.0
        for who in (0, 1):
            tape.resumes(who)
        tape.comes_to_its_end()

        assert rules(tape, kept_otherwise(ended_at=SERVER_MS + 9000)) == set()

    @pytest.mark.parametrize("duration_ms", [3000, 8000])
    def test_a_clock_that_is_not_its_own_time_is_found(self, duration_ms: int) -> None:
        """By history media was over long before, or long after, the time that both were told."""
        tape = on_the_phone()
        tape.comes_to_its_end()
        for entry in tape.history:
            if entry.type == "call.ended":
                entry.data["data"]["duration_ms"] = duration_ms

        assert rules(tape, kept_otherwise(duration_ms=duration_ms, ended_at=SERVER_MS + 8200)) >= {"clock"}

    def test_an_end_that_nobody_is_told_of_is_found(self) -> None:
        """History has it; one of the two waits."""
        tape = on_the_phone()
        tape.hears(0, "call.ended", call_id=CALL, reason="hangup", duration_ms=100, requeued=False)
        tape.wait(500)

        readings = kept_otherwise(reason="hangup", duration_ms=100, ended_at=SERVER_MS + 100)
        assert rules(tape, readings) == {"ends"}

    def test_an_end_that_is_told_late_is_found(self) -> None:
        """Five seconds, to one who was there."""
        tape = on_the_phone()
        tape.hears(0, "call.ended", call_id=CALL, reason="hangup", duration_ms=100, requeued=False)
        tape.wait(5500)
        tape.hears(1, "call.ended", call_id=CALL, reason="hangup", duration_ms=100, requeued=False)

        readings = kept_otherwise(reason="hangup", duration_ms=100, ended_at=SERVER_MS + 100)
        assert rules(tape, readings) == {"ends"}


class TestConsent:
    def test_video_that_nobody_allowed_is_found(self) -> None:
        """It is shown as open, without a word of approval."""
        tape = on_the_phone()
        tape.told(1, 6, "live", video_allowed={"a": False, "b": True}, **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == {"consent"}

    def test_video_that_was_taken_back_and_is_open_again_is_found(self) -> None:
        """An approval counts until it is taken back, not longer."""
        tape = on_the_phone()
        tape.opens_video()
        tape.revokes_video()
        tape.told(1, 9, "live", video_allowed={"a": False, "b": True}, **tape.clock())
        tape.comes_to_its_end()

        assert "consent" in rules(tape)

    def test_video_may_be_opened_anew(self) -> None:
        """By another word of approval."""
        tape = on_the_phone()
        tape.opens_video()
        tape.revokes_video()
        tape.done(0, "video.approve", call_id=CALL, direction="receive")
        for who in (0, 1):
            tape.hears(who, "video.allowed", call_id=CALL, video_allowed={"a": False, "b": True})
        tape.comes_to_its_end()

        assert rules(tape) == set()

    def test_an_approval_to_receive_does_not_let_the_approver_send(self) -> None:
        """She sees, and is not seen."""
        tape = on_the_phone()
        tape.done(0, "video.approve", call_id=CALL, direction="receive")
        tape.told(0, 6, "live", video_allowed={"a": True, "b": True}, **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == {"consent"}

    def test_pictures_that_nobody_allowed_are_found(self) -> None:
        """A description with video was relayed."""
        tape = on_the_phone()
        tape.relays(1, "call.offer", 7, "sendonly")
        tape.comes_to_its_end()

        assert rules(tape) == {"consent"}

    def test_pictures_after_they_were_taken_back_are_found(self) -> None:
        """The revocation was answered before the offer was made."""
        tape = on_the_phone()
        tape.opens_video()
        tape.done(0, "video.revoke", call_id=CALL)
        tape.relays(1, "call.offer", 7, "sendrecv")
        tape.both_told(8, "live", **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == {"consent"}

    def test_a_description_that_nobody_sent_is_found(self) -> None:
        """The server makes none up."""
        tape = on_the_phone()
        tape.hears(1, "call.offer", call_id=CALL, negotiation=5, video="sendrecv")
        tape.comes_to_its_end()

        assert rules(tape) == {"consent"}


class TestStayingInTouch:
    def test_a_connection_that_is_not_kept_is_found(self) -> None:
        """Both were told that they stay in touch."""
        assert "connections" in rules(evening(), replace(kept(), connections={}))

    def test_a_message_that_is_lost_is_found(self) -> None:
        """It was acknowledged."""
        readings = kept()

        assert "chat" in rules(evening(), replace(readings, messages=readings.messages[:1]))

    def test_a_message_that_is_doubled_is_found(self) -> None:
        """Once under each name."""
        readings = kept()
        twin = KeptMessage(CHAT, 3, "message-3", "user-0", "0-1", "word 1")

        assert rules(evening(), replace(readings, messages=[*readings.messages, twin])) == {"chat"}

    def test_a_gap_in_the_numbers_is_found(self) -> None:
        """Numbers count from one."""
        readings = kept()
        messages = [readings.messages[0], replace(readings.messages[1], number=3)]

        assert "chat" in rules(evening(), replace(readings, messages=messages))

    def test_messages_that_changed_places_are_found(self) -> None:
        """What one said first is kept first."""
        tape = evening()
        for name, number in (("first", 4), ("second", 3)):
            reply = {"id": name, "number": number}
            tape.done(0, "chat.send", reply, connection_id=CHAT, client_id=name, body=name)
            tape.hears(1, "chat.message", id=name, number=number, connection_id=CHAT, body=name)
        more = [KeptMessage(CHAT, 3, "second", "user-0", "second", "second")]
        more += [KeptMessage(CHAT, 4, "first", "user-0", "first", "first")]

        assert rules(tape, replace(kept(), messages=[*kept().messages, *more])) == {"chat"}

    def test_hearing_again_of_ones_own_message_is_no_fault(self) -> None:
        """It was sent in two sessions, and is told to the second as to another device."""
        tape = evening()
        tape.hears(0, "chat.message", id="message-1", number=1, connection_id=CHAT, body="word 1")

        assert rules(tape) == set()

    def test_a_message_that_was_never_said_is_found(self) -> None:
        """It was heard, and is not kept."""
        tape = evening()
        tape.hears(1, "chat.message", id="unheard of", number=3, connection_id=CHAT, body="?")

        assert rules(tape) == {"chat"}

    def test_a_message_that_the_other_never_hears_is_found(self) -> None:
        """They were there the whole time."""
        tape = evening()
        tape.done(0, "chat.send", {"id": "m", "number": 3}, connection_id=CHAT, client_id="m", body="m")
        tape.wait(6000)
        tape.hears(1, "ping", numbered=False)
        more = KeptMessage(CHAT, 3, "m", "user-0", "m", "m")

        assert rules(tape, replace(kept(), messages=[*kept().messages, more])) == {"chat"}

    def test_a_message_to_somebody_whom_one_has_just_blocked_need_not_arrive(self) -> None:
        """Nothing is told after a block."""
        tape = evening()
        tape.asks(0, "safety.block", call_id=CALL)
        tape.done(0, "chat.send", {"id": "m", "number": 3}, connection_id=CHAT, client_id="m", body="m")
        tape.wait(6000)
        tape.hears(1, "ping", numbered=False)
        more = KeptMessage(CHAT, 3, "m", "user-0", "m", "m")

        assert rules(tape, replace(kept(), messages=[*kept().messages, more])) == set()

    def test_meeting_somebody_whom_one_has_blocked_is_found(self) -> None:
        """Never again."""
        tape = evening()
        tape.done(0, "safety.block", call_id=CALL)
        readings = kept()
        again = replace(
            readings.calls[0],
            id="call-2",
            created_at=SERVER_MS + 60_000,
            live_at=None,
            ended_at=SERVER_MS + 60_001,
        )

        assert rules(tape, replace(readings, calls=[*readings.calls, again])) == {"blocks"}


class TestTheEnd:
    def test_a_person_who_cannot_go_home_is_found(self) -> None:
        """They said so themselves."""
        tape = evening()
        tape.notes(1, "did not come home", call=CALL, waiting=None)

        assert rules(tape) == {"home"}

    @pytest.mark.parametrize("stuck", [{"ticket": {"ticket_id": "t"}}, {"call": {"call_id": CALL}}])
    def test_a_person_who_is_still_in_something_is_found(self, stuck: dict[str, object]) -> None:
        """The server says so when they sign in again."""
        readings = kept()
        snapshots = {0: {"ticket": None, "call": None, **stuck}, 1: readings.snapshots[1]}

        assert rules(evening(), replace(readings, snapshots=snapshots)) == {"home"}

    def test_a_person_who_cannot_sign_in_any_more_is_found(self) -> None:
        """There is no snapshot of them."""
        readings = kept()

        assert rules(evening(), replace(readings, snapshots={0: readings.snapshots[0]})) == {"home"}

    def test_what_redis_still_remembers_is_found(self) -> None:
        """Nobody waits and nobody talks."""
        assert rules(evening(), replace(kept(), leftovers=["{q:dating}:tickets: t"])) == {"home"}

    def test_a_history_that_was_full_proves_nothing(self) -> None:
        """What came later was not written down."""
        tape = evening()
        tape.history.overflowed = True

        assert rules(tape) == {"sound"}

    def test_a_script_that_failed_proves_nothing(self) -> None:
        """Its person did less than was meant."""
        tape = evening()
        tape.notes(0, "a bug of the swarm", error="KeyError()")

        assert rules(tape) == {"sound"}


class TestHistory:
    def test_it_is_the_same_after_being_dumped_and_loaded(self, tmp_path: Path) -> None:
        """A failed run can be looked at again."""
        tape = evening()
        tape.history.fault("kill -9", "hub 1")
        tape.history.dump(tmp_path / "history.jsonl")

        assert load(tmp_path / "history.jsonl").entries == tape.history.entries

    def test_a_call_is_shown_with_all_that_its_people_did_meanwhile(self) -> None:
        """For whoever looks for the cause of a broken promise."""
        tape = evening()

        shown = [brief(entry) for entry in of_call(tape.history, CALL)]

        assert any("<- call.state call call-1 state=live version=7" in line for line in shown)
        assert any("allowed=ab" in line for line in shown)
        assert any("-> call.offer" in line and "video=sendrecv" in line for line in shown)
        assert any("<- ok ticket_id=ticket-0" in line for line in shown)

    def test_it_keeps_no_more_than_its_limit(self) -> None:
        """It says so."""
        history = History(limit=1)
        history.fault("one")
        history.fault("two")

        assert len(history) == 1
        assert history.overflowed

    def test_it_keeps_neither_tokens_nor_descriptions(self) -> None:
        """Only what descriptions do with video."""
        sdp = "v=0\r\nm=audio 9 x 0\r\na=sendrecv\r\nm=video 9 x 96\r\na=sendonly\r\n"

        kept = tidy({"type": "call.offer", "data": {"sdp": sdp, "token": "secret", "candidates": [{}, {}]}})

        assert kept == {"type": "call.offer", "data": {"video": "sendonly", "candidates": 2}}

    @pytest.mark.parametrize(
        ("section", "direction"),
        [
            ("", None),
            ("m=video 0 x 96\r\na=sendrecv\r\n", None),
            ("m=video 9 x 96\r\na=inactive\r\n", None),
            ("m=video 9 x 96\r\na=recvonly\r\n", "recvonly"),
            ("m=video 9 x 96\r\n", "sendrecv"),
        ],
    )
    def test_it_knows_what_a_description_does_with_video(self, section: str, direction: str | None) -> None:
        """As RFC 8866 has it: no direction means both."""
        assert video_of("v=0\r\nm=audio 9 x 0\r\na=sendrecv\r\n" + section) == direction
