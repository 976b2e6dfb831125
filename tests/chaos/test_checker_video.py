"""What is planted into consent is found: video that nobody allowed, or that was taken back."""

import pytest

from tests.chaos.checker import Mode
from tests.chaos.checker_tape import CALL, on_the_phone, rules


class TestConsent:
    def test_video_that_nobody_allowed_is_found(self) -> None:
        """It is shown as open, without a word of approval."""
        tape = on_the_phone()
        tape.both_told(6, "live", video_allowed={"a": False, "b": True}, **tape.clock())
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
        tape.both_told(6, "live", video_allowed={"a": True, "b": True}, **tape.clock())
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

        assert rules(tape) == {"consent", "relays"}

    def test_an_offer_that_was_on_its_way_for_too_long_is_found(self) -> None:
        """A revocation overtakes what was said before it."""
        tape = on_the_phone()
        tape.opens_video()
        tape.done(1, "call.offer", call_id=CALL, negotiation=7, video="sendrecv")
        tape.done(0, "video.revoke", call_id=CALL)
        tape.both_told(8, "live", **tape.clock())
        tape.wait(1200)
        tape.hears(0, "call.offer", call_id=CALL, negotiation=7, video="sendrecv")
        tape.comes_to_its_end()

        assert rules(tape) == {"consent"}

    def test_an_offer_that_was_on_its_way_and_is_read_after_coming_back_is_no_fault(self) -> None:
        """It waited for its reader, and so did the word of the revocation, after it."""
        tape = on_the_phone()
        tape.opens_video()
        tape.loses(1)
        tape.done(0, "call.offer", call_id=CALL, negotiation=7, video="sendrecv")
        tape.done(0, "video.revoke", call_id=CALL)
        tape.told(0, 8, "live", **tape.clock())
        tape.wait(1200)
        tape.resumes(1)
        tape.hears(1, "call.offer", call_id=CALL, negotiation=7, video="sendrecv")
        tape.told(1, 8, "live", **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == set()

    def test_a_revocation_of_which_the_other_is_not_told_is_found(self) -> None:
        """A second is enough."""
        tape = on_the_phone()
        tape.opens_video()
        tape.done(0, "video.revoke", call_id=CALL)
        tape.told(0, 8, "live", **tape.clock())
        tape.wait(2000)
        tape.told(1, 8, "live", **tape.clock())
        tape.comes_to_its_end()

        assert rules(tape) == {"consent"}
        assert rules(tape, mode=Mode(away=[(0, tape.at_ms)])) == set()

    @pytest.mark.parametrize("who", [0, 1])
    def test_a_revocation_that_was_answered_and_does_not_hold_is_found(self, who: int) -> None:
        """Views go on to show video as allowed, as if nothing had been said."""
        tape = on_the_phone()
        tape.opens_video()
        tape.done(0, "video.revoke", call_id=CALL)
        tape.wait(1100)
        tape.told(who, 8, "live", video_allowed={"a": True, "b": True}, **tape.clock())
        tape.comes_to_its_end()

        assert "consent" in rules(tape)
