"""What is planted between two is found: views that differ, news that only one hears, clocks that move, ends that are none."""

import pytest

from tests.chaos.checker import Mode
from tests.chaos.checker_tape import CALL, SERVER_MS, Tape, evening, kept, kept_otherwise, on_the_phone, rules

LATER = {"ends_at": SERVER_MS + 12_000, "deadline_at": SERVER_MS + 12_000}


class TestViews:
    @pytest.mark.parametrize(
        "otherwise",
        [{"video_allowed": {"a": True, "b": False}}, {"connected": True}, {"ends_at": SERVER_MS + 5500}],
        ids=lambda change: next(iter(change)),
    )
    def test_a_version_that_is_not_the_same_for_both_is_found(self, otherwise: dict[str, object]) -> None:
        """Two records grew apart under one number."""
        tape = on_the_phone()
        tape.told(0, 6, "live", **tape.clock())
        tape.told(1, 6, "live", **{**tape.clock(), **otherwise})
        tape.comes_to_its_end()

        assert "same views" in rules(tape)

    def test_a_version_may_differ_where_nothing_could_be_stored(self) -> None:
        """A restriction binds where it is said."""
        tape = on_the_phone()
        tape.told(0, 6, "live", **tape.clock())
        tape.told(1, 6, "live", **{**tape.clock(), "connected": True})
        away = Mode(away=[(0, tape.at_ms)])
        tape.comes_to_its_end()

        assert "same views" not in rules(tape, mode=away)

    def test_news_that_only_one_hears_are_found(self) -> None:
        """The other was there for the whole time."""
        tape = on_the_phone()
        tape.told(0, 6, "live", **tape.clock())
        tape.wait(3500)
        tape.comes_to_its_end()

        assert rules(tape) == {"both told"}

    def test_news_that_come_with_the_next_are_no_fault(self) -> None:
        """Views follow each other; one that was overtaken is not needed any more."""
        tape = on_the_phone()
        tape.told(0, 6, "live", **tape.clock())
        tape.wait(1500)
        tape.both_told(7, "live", **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == set()

    def test_who_is_away_hears_the_news_later(self) -> None:
        """When they are back."""
        tape = on_the_phone()
        tape.loses(1)
        tape.told(0, 6, "live", **tape.clock())
        tape.wait(3500)
        tape.resumes(1)
        tape.comes_to_its_end()

        assert rules(tape) == set()


class TestTheClock:
    def test_more_time_for_which_both_asked_is_no_fault(self) -> None:
        """One asks, the other agrees."""
        tape = on_the_phone()
        tape.done(1, "call.extend", call_id=CALL)
        tape.done(0, "call.extend.reply", call_id=CALL, accept=True)
        tape.both_told(6, "live", **LATER)
        tape.at_ms = 12_000.0
        for who in (0, 1):
            tape.hears(
                who, "call.ended", call_id=CALL, reason="completed", duration_ms=11_900, requeued=False
            )

        readings = kept_otherwise(
            reason="completed", duration_ms=11_900, ended_at=SERVER_MS + 12_005, connected=False
        )
        assert rules(tape, readings) == set()

    @pytest.mark.parametrize("reply", [None, False])
    def test_more_time_for_which_only_one_asked_is_found(self, reply: bool | None) -> None:
        """The other said nothing, or no."""
        tape = on_the_phone()
        tape.done(1, "call.extend", call_id=CALL)
        if reply is not None:
            tape.done(0, "call.extend.reply", call_id=CALL, accept=reply)
        tape.both_told(6, "live", **LATER)
        tape.at_ms = 12_000.0
        tape.comes_to_its_end()

        assert "clock" in rules(tape, kept_otherwise(duration_ms=11_900, ended_at=SERVER_MS + 12_100))

    def test_a_yes_of_which_nobody_could_say_whether_it_was_stored_may_count(self) -> None:
        """`unavailable` is no refusal: the store may have taken it."""
        tape = on_the_phone()
        tape.done(1, "call.extend", call_id=CALL)
        tape.refused(0, "call.extend.reply", "unavailable", retryable=True, call_id=CALL, accept=True)
        tape.both_told(6, "live", **LATER)
        for who in (0, 1):
            tape.hears(who, "call.ended", call_id=CALL, reason="hangup", duration_ms=10, requeued=False)

        readings = kept_otherwise(reason="hangup", duration_ms=10, ended_at=SERVER_MS + 110, connected=False)
        assert "clock" not in rules(tape, readings)

    def test_more_time_than_was_agreed_to_is_found(self) -> None:
        """One agreement is one extension."""
        tape = on_the_phone()
        tape.done(1, "call.extend", call_id=CALL)
        tape.done(0, "call.extend.reply", call_id=CALL, accept=True)
        tape.both_told(6, "live", **LATER)
        tape.both_told(7, "live", ends_at=SERVER_MS + 18_000, deadline_at=SERVER_MS + 18_000)
        tape.at_ms = 18_000.0
        tape.comes_to_its_end()

        assert "clock" in rules(tape, kept_otherwise(duration_ms=17_900, ended_at=SERVER_MS + 18_100))

    def test_a_clock_that_is_longer_than_the_intent_says_is_found(self) -> None:
        """Both are told the same, from the beginning."""
        tape = on_the_phone()
        readings = kept_otherwise(live_at=SERVER_MS + 900, duration_ms=5100)
        for entry in tape.history:
            if entry.type == "call.ended":
                entry.data["data"]["duration_ms"] = 5100
        tape.comes_to_its_end()

        assert "clock" in rules(tape, readings)

    def test_a_clock_that_is_put_back_is_found(self) -> None:
        """Time that both were given is taken from them."""
        tape = on_the_phone()
        tape.both_told(6, "live", ends_at=SERVER_MS + 5900, deadline_at=SERVER_MS + 5900)
        tape.comes_to_its_end()

        assert rules(tape) == {"clock"}


class TestRoles:
    @pytest.mark.parametrize(
        "otherwise", [{"role": "mutual"}, {"role": "controller"}, {"offerer": True}], ids=str
    )
    def test_a_role_that_the_match_does_not_give_is_found(self, otherwise: dict[str, object]) -> None:
        """He is on seat b, and the guest of a woman."""
        tape = evening()
        for entry in tape.history:
            if entry.who == 1 and entry.type == "match.found":
                entry.data["data"] |= otherwise

        assert "roles" in rules(tape)


class TestNoes:
    @pytest.mark.parametrize("type_", ["call.hangup", "safety.block"])
    def test_an_end_that_was_answered_and_came_to_nothing_is_found(self, type_: str) -> None:
        """The clock ended it, long after."""
        tape = on_the_phone()
        tape.done(0, type_, call_id=CALL)
        tape.comes_to_its_end()

        assert rules(tape) == {"noes"}

    def test_an_end_that_could_not_be_stored_may_come_later_in_history(self) -> None:
        """It binds where it was said; the clock may have been quicker elsewhere."""
        tape = on_the_phone()
        tape.done(0, "call.hangup", call_id=CALL)
        away = Mode(away=[(0, tape.at_ms)])
        tape.comes_to_its_end()

        assert rules(tape, mode=away) == set()

    def test_a_call_that_is_there_again_after_its_end_is_found(self) -> None:
        """A new session shows it as if nothing had been said."""
        tape = evening()
        tape.loses(1)
        tape.begins(1, call=tape.view(1, 11, "live", **tape.clock()))
        tape.hears(1, "call.ended", call_id=CALL, reason="completed", duration_ms=5900, requeued=False)

        assert "noes" in rules(tape)
        assert "noes" in rules(tape, mode=Mode(away=[(0, tape.at_ms)]))

    def test_an_end_that_its_hub_could_not_store_may_be_unknown_to_another(self) -> None:
        """Until it is stored; and not to the session that was told."""
        tape = evening()
        told_at = tape.at_ms
        tape.loses(1)
        tape.begins(1, call=tape.view(1, 11, "live", **tape.clock()))
        tape.told(1, 12, "ended")
        tape.hears(1, "call.ended", call_id=CALL, reason="completed", duration_ms=5900, requeued=False)
        after = Mode(alone=[(told_at + 1, tape.at_ms)])

        assert not {"noes", "silence", "versions"} & rules(tape, mode=Mode(alone=[(0, tape.at_ms)]))
        assert {"noes", "silence"} <= rules(tape, mode=after)


class TestHistory:
    @pytest.mark.parametrize(
        "otherwise",
        [
            {"users": {"a": "user-0"}},
            {"live_at": None},
            {"reason": "declined"},
            {"duration_ms": 50_000},
            {"connected": False},
            {"live_at": SERVER_MS - 1000},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_call_that_contradicts_itself_is_found(self, otherwise: dict[str, object]) -> None:
        """Its facts come from one record."""
        assert "history" in rules(evening(), kept_otherwise(**otherwise))

    def test_a_live_call_of_which_nobody_was_told_is_found(self) -> None:
        """Nobody had it."""
        assert rules(Tape(), kept_otherwise(connected=False, reason="hangup")) == {"history"}

    def test_what_is_kept_of_a_good_evening_contradicts_nothing(self) -> None:
        """It is what was told."""
        assert rules(evening(), kept()) == set()
