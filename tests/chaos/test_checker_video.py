"""What is planted into consent is found: video that nobody allowed, or that was taken back."""

from tests.chaos.checker_tape import CALL, on_the_phone, rules


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
