"""What is planted into calls is found: two at a time, steps that the table does not have, ends that are late or never told."""

from dataclasses import replace

import pytest

from tests.chaos.checker import Mode
from tests.chaos.checker_tape import CALL, SERVER_MS, evening, kept, kept_otherwise, on_the_phone, rules
from tests.chaos.history import SLOW


class TestCalls:
    def test_a_match_in_the_middle_of_a_call_is_found(self) -> None:
        """One call at a time."""
        tape = on_the_phone()
        tape.joins(0, "ticket-2")
        tape.matched(0, call="call-2")
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

    def test_a_match_that_is_told_twice_is_found(self) -> None:
        """In one session; another session is shown it anew."""
        tape = on_the_phone()
        tape.matched(0)
        tape.comes_to_its_end()

        assert rules(tape) == {"shown"}

    def test_two_calls_at_once_in_history_are_found(self) -> None:
        """Also where nobody was told of both."""
        readings = kept()
        other = replace(
            readings.calls[0],
            id="call-2",
            users={"a": "user-0", "b": "user-9"},
            reason="declined",
            live_at=None,
            duration_ms=0,
            connected=False,
        )

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

        assert rules(tape) == {"versions", "same views"}

    def test_a_step_that_the_table_does_not_have_is_found(self) -> None:
        """From `live` nothing leads back to `connecting`."""
        tape = on_the_phone()
        tape.both_told(6, "connecting")
        tape.both_told(7, "live", **tape.clock())
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

        assert rules(tape, kept_otherwise(duration_ms=6300, ended_at=SERVER_MS + 6400), away) == set()
        assert rules(tape, kept_otherwise(duration_ms=5000), away) == set()
        assert rules(tape, kept_otherwise(duration_ms=6300, ended_at=SERVER_MS + 6400)) >= {"history"}

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

        readings = kept_otherwise(reason="hangup", duration_ms=100, ended_at=SERVER_MS + 200, connected=False)
        assert rules(tape, readings) == {"ends"}

    def test_an_end_that_is_told_late_is_found(self) -> None:
        """Five seconds, to one who was there."""
        tape = on_the_phone()
        tape.hears(0, "call.ended", call_id=CALL, reason="hangup", duration_ms=100, requeued=False)
        tape.wait(5500)
        tape.hears(1, "call.ended", call_id=CALL, reason="hangup", duration_ms=100, requeued=False)

        readings = kept_otherwise(reason="hangup", duration_ms=100, ended_at=SERVER_MS + 200, connected=False)
        assert rules(tape, readings) == {"ends"}

    def test_an_end_that_is_never_told_is_found_also_after_something_was_away(self) -> None:
        """What excuses lateness is over, and she is still there."""
        tape = on_the_phone()
        tape.hears(1, "call.ended", call_id=CALL, reason="hangup", duration_ms=100, requeued=False)
        away = Mode(away=[(0, 2000)])
        tape.wait(9000)
        tape.begins(0)

        readings = kept_otherwise(reason="hangup", duration_ms=100, ended_at=SERVER_MS + 200, connected=False)
        assert "ends" in rules(tape, readings, away)
        assert "ends" not in rules(tape, readings, Mode(away=[(0, 9000)]))
