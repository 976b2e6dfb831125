"""What is planted into returns is found: places that lost their time, people who do not go back, pauses that are none."""

import pytest

from tests.chaos.checker import Mode
from tests.chaos.checker_tape import CALL, SERVER_MS, Tape, evening, kept, kept_otherwise, rules
from tests.chaos.readings import Readings
from tests.chaos.swarm_world import DECLINE_PAUSE_S


def matched() -> Tape:
    """Two who were shown each other."""
    tape = Tape()
    for who in (0, 1):
        tape.begins(who)
        tape.joins(who, f"ticket-{who}")
    tape.matched()
    tape.both_told(1, "proposed")
    return tape


def ends(tape: Tape, reason: str, *requeued: bool) -> Readings:
    """The call is over for both; what is kept of it."""
    for who, back in enumerate(requeued):
        tape.hears(who, "call.ended", call_id=CALL, reason=reason, duration_ms=0, requeued=back)
    return kept_otherwise(reason=reason, live_at=None, duration_ms=0, ended_at=tape.now, connected=False)


def go_home(tape: Tape) -> None:
    for who in (0, 1):
        tape.done(who, "queue.leave")


class TestSeniority:
    def test_a_place_that_counts_from_another_time_is_found(self) -> None:
        """It came back with the time of its return."""
        tape = matched()
        readings = ends(tape, "declined", False, True)
        tape.joins(1, "ticket-1")
        go_home(tape)

        assert rules(tape, readings) == {"seniority"}

    def test_a_place_that_counts_from_another_time_in_a_snapshot_is_found(self) -> None:
        """It was put back, and not as it was."""
        tape = evening()
        tape.joins(0, "ticket-2")
        tape.loses(0)
        tape.begins(0, ticket={"ticket_id": "ticket-2", "intent": "dating", "queued_at": tape.now})
        go_home(tape)

        assert rules(tape) == {"seniority"}

    def test_a_place_that_keeps_its_time_is_no_fault(self) -> None:
        """As it was."""
        tape = evening()
        since = tape.now
        tape.done(0, "queue.join", {"ticket_id": "ticket-2", "queued_at": since}, intent="dating")
        tape.loses(0)
        tape.begins(0, ticket={"ticket_id": "ticket-2", "intent": "dating", "queued_at": since})
        go_home(tape)

        assert rules(tape) == set()


class TestRequeued:
    @pytest.mark.parametrize(
        ("reason", "back"),
        [
            ("declined", (True, True)),
            ("declined", (False, False)),
            ("cancelled", (False, False)),
            ("completed", (True, False)),
            ("network_lost", (True, True)),
        ],
    )
    def test_a_return_that_the_table_does_not_have_is_found(
        self, reason: str, back: tuple[bool, bool]
    ) -> None:
        """Whoever did nothing goes back, and nobody else."""
        tape = matched()
        readings = ends(tape, reason, *back)
        go_home(tape)

        assert "requeued" in rules(tape, readings)

    @pytest.mark.parametrize(
        ("reason", "back"),
        [
            ("declined", (False, True)),
            ("cancelled", (True, True)),
            ("cancelled", (True, False)),
            ("no_answer", (False, False)),
            ("hangup", (False, True)),
        ],
    )
    def test_a_return_by_the_table_is_no_fault(self, reason: str, back: tuple[bool, bool]) -> None:
        """Nobody had accepted; the block of one is the innocence of the other."""
        tape = matched()
        readings = ends(tape, reason, *back)
        go_home(tape)

        assert rules(tape, readings) == set()

    def test_going_back_after_a_live_call_is_found(self) -> None:
        """They have talked."""
        tape = Tape()
        tape.connects()
        tape.hears(0, "call.ended", call_id=CALL, reason="hangup", duration_ms=10, requeued=True)
        tape.hears(1, "call.ended", call_id=CALL, reason="hangup", duration_ms=10, requeued=False)
        go_home(tape)
        readings = kept_otherwise(reason="hangup", duration_ms=10, ended_at=SERVER_MS + 110, connected=False)

        assert rules(tape, readings) == {"requeued"}

    def test_one_who_said_yes_and_does_not_go_back_is_found(self) -> None:
        """The other did not answer."""
        tape = matched()
        tape.done(0, "call.accept", call_id=CALL)
        readings = ends(tape, "no_answer", False, False)

        assert rules(tape, readings) == {"requeued"}
        assert rules(tape, readings, Mode(away=[(0, tape.at_ms)])) == set()

    def test_one_who_was_there_and_does_not_go_back_is_found(self) -> None:
        """Both were, to the end."""
        tape = matched()
        tape.wait(2000)
        readings = ends(tape, "connect_timeout", True, False)
        go_home(tape)

        assert rules(tape, readings) == {"requeued"}


class TestPauses:
    @pytest.mark.parametrize("waited", [False, True])
    def test_queueing_again_before_the_pause_is_over_is_found(self, waited: bool) -> None:
        """After it, it is what people do."""
        tape = matched()
        readings = ends(tape, "declined", False, True)
        if waited:
            tape.wait(DECLINE_PAUSE_S[0] * 1000)
        tape.joins(0, "ticket-2")
        go_home(tape)

        assert rules(tape, readings) == (set() if waited else {"pauses"})

    def test_who_was_declined_does_not_pause(self) -> None:
        """They wait on."""
        tape = matched()
        readings = ends(tape, "declined", False, True)
        tape.done(1, "queue.leave")
        tape.joins(1, "ticket-3")
        go_home(tape)

        assert rules(tape, readings) == set()

    def test_pauses_may_be_lost_with_the_store(self) -> None:
        """Nobody else has them."""
        tape = matched()
        readings = ends(tape, "declined", False, True)
        tape.joins(0, "ticket-2")
        go_home(tape)

        assert rules(tape, readings, Mode(lossy=[(0, tape.at_ms)])) == set()
        assert kept().calls != readings.calls
