"""What is planted into staying in touch is found: messages lost, doubled, reordered; blocks that do not hold."""

from dataclasses import replace

from tests.chaos.checker_tape import CALL, CHAT, SERVER_MS, evening, kept, kept_otherwise, on_the_phone, rules
from tests.chaos.readings import KeptMessage


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

    def test_a_message_that_is_said_again_was_told_when_it_was_kept(self) -> None:
        """The other began anew since, and is told by the snapshot how much there is to read."""
        tape = evening()
        kept_at = tape.now
        tape.loses(1)
        tape.begins(1)
        sent = {"id": "m", "number": 3, "sent_at": kept_at}
        tape.done(0, "chat.send", sent, connection_id=CHAT, client_id="m", body="m")
        tape.wait(6000)
        tape.hears(1, "ping", numbered=False)
        more = KeptMessage(CHAT, 3, "m", "user-0", "m", "m")
        readings = replace(kept(), messages=[*kept().messages, more])

        assert rules(tape, readings) == set()

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
            reason="declined",
            live_at=None,
            ended_at=SERVER_MS + 60_001,
            duration_ms=0,
            connected=False,
        )

        assert rules(tape, replace(readings, calls=[*readings.calls, again])) == {"blocks"}

    def test_a_message_after_a_block_is_found(self) -> None:
        """Nothing passes between them any more."""
        tape = evening()
        tape.done(0, "safety.block", call_id=CALL)
        tape.wait(1000)
        tape.done(1, "chat.send", {"id": "m", "number": 3}, connection_id=CHAT, client_id="m", body="m")
        more = KeptMessage(CHAT, 3, "m", "user-1", "m", "m")

        assert rules(tape, replace(kept(), messages=[*kept().messages, more])) == {"blocks"}

    def test_a_connection_that_nobody_wished_is_found(self) -> None:
        """She said nothing."""
        tape = on_the_phone()
        tape.at_ms = 6000.0
        tape.hears(0, "call.ended", call_id=CALL, reason="connected", duration_ms=5900, requeued=False)
        tape.hears(1, "call.ended", call_id=CALL, reason="completed", duration_ms=5900, requeued=False)

        assert rules(tape, replace(kept(), messages=[])) == {"connections"}

    def test_a_wish_that_was_answered_and_is_gone_is_found(self) -> None:
        """By history they are strangers."""
        readings = kept_otherwise(connected=False, reason="completed")

        assert "connections" in rules(evening(), readings)

    def test_a_connection_that_only_history_has_is_found(self) -> None:
        """The call connected them, and they cannot write to each other."""
        tape = on_the_phone()
        tape.comes_to_its_end()

        assert rules(tape, replace(kept(), messages=[], connections={})) == {"connections"}
