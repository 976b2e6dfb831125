"""The checker finds what is planted, here into a whole evening and what is left of it; and is silent about a good one."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.swarm import canned
from tests.chaos.checker import Mode, check
from tests.chaos.checker_tape import CALL, evening, kept, rules
from tests.chaos.history import History, load, tidy, video_of
from tests.chaos.history_look import brief, of_call
from tests.chaos.judge_again import HISTORY, keep, kept_in


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

    def test_a_run_that_was_kept_can_be_judged_again(self, tmp_path: Path) -> None:
        """By what was left of it, as it was judged then."""
        tape = evening()
        mode = Mode(away=[(0.0, 5.0)], sessions_survive=True)
        tape.history.dump(tmp_path / HISTORY)
        keep(tmp_path, kept(), mode)

        history, readings, excused = kept_in(tmp_path)

        assert check(history, readings, excused).ok
        assert (readings, excused.sessions_survive) == (replace(kept(), leftovers=[]), True)
        assert excused.was_away(1.0, 2.0)
        assert not excused.was_away(6.0, 7.0)

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

        candidates = [canned.candidate(1), canned.candidate(2)]

        kept = tidy({"type": "call.offer", "data": {"sdp": sdp, "token": "secret", "candidates": candidates}})

        assert kept == {"type": "call.offer", "data": {"video": "sendonly", "candidates": ["8422", "8423"]}}

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
