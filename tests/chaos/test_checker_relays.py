"""What is planted into relays is found: doubled, changed places, made up."""

from dataclasses import replace

import pytest

from tests.chaos.checker_tape import CALL, SERVER_MS, Tape, kept_otherwise, on_the_phone, rules


def negotiating() -> Tape:
    """She has said an offer and two candidates, none of which has arrived."""
    tape = on_the_phone()
    tape.done(0, "call.offer", call_id=CALL, negotiation=5, video=None)
    for name in ("first", "second"):
        tape.done(0, "call.candidates", call_id=CALL, negotiation=5, of="self", candidates=[name])
    return tape


def offer(tape: Tape) -> None:
    tape.hears(1, "call.offer", call_id=CALL, negotiation=5, video=None)


def candidates(tape: Tape, *names: str, of: str = "peer", negotiation: int = 5) -> None:
    tape.hears(1, "call.candidates", call_id=CALL, negotiation=negotiation, of=of, candidates=list(names))


class TestRelays:
    def test_what_arrives_as_it_was_said_is_no_fault(self) -> None:
        """Also where candidates that had to wait come together."""
        tape = negotiating()
        offer(tape)
        candidates(tape, "first", "second")
        tape.comes_to_its_end()

        assert rules(tape) == set()

    def test_what_never_arrives_is_no_fault(self) -> None:
        """The other side may have no socket for it, or a session that knows nothing of it."""
        tape = negotiating()
        candidates(tape, "second")
        tape.comes_to_its_end()

        assert rules(tape) == set()

    def test_an_offer_that_comes_twice_is_found(self) -> None:
        """In another session, so that its number does not show it."""
        tape = negotiating()
        offer(tape)
        offer(tape)
        tape.comes_to_its_end()

        assert rules(tape) == {"relays"}

    def test_a_candidate_that_comes_twice_is_found(self) -> None:
        """Sent again by a node that had sent it."""
        tape = negotiating()
        offer(tape)
        candidates(tape, "first", "second")
        candidates(tape, "first")
        tape.comes_to_its_end()

        assert rules(tape) == {"relays"}

    def test_candidates_that_changed_places_are_found(self) -> None:
        """What was said first comes first."""
        tape = negotiating()
        offer(tape)
        candidates(tape, "second")
        candidates(tape, "first")
        tape.comes_to_its_end()

        assert rules(tape) == {"relays"}

    def test_a_candidate_before_its_offer_is_found(self) -> None:
        """It waits until the offer has passed."""
        tape = negotiating()
        candidates(tape, "first")
        offer(tape)
        tape.comes_to_its_end()

        assert rules(tape) == {"relays"}

    def test_a_candidate_of_another_negotiation_is_found(self) -> None:
        """It was said of the fifth."""
        tape = negotiating()
        offer(tape)
        candidates(tape, "first", negotiation=1)
        tape.comes_to_its_end()

        assert rules(tape) == {"relays"}

    def test_a_candidate_that_is_said_to_be_of_the_wrong_side_is_found(self) -> None:
        """It was of her own offer: to him it is the peer's."""
        tape = negotiating()
        offer(tape)
        candidates(tape, "first", of="self")
        tape.comes_to_its_end()

        assert rules(tape) == {"relays"}


class TestEarly:
    @pytest.mark.parametrize("type_", ["call.offer", "call.candidates", "call.ice_servers"])
    def test_a_word_of_media_to_one_who_was_only_proposed_to_is_found(self, type_: str) -> None:
        """They may decline, and are to have learnt nothing by then."""
        tape = Tape()
        for who in (0, 1):
            tape.begins(who)
            tape.joins(who, f"ticket-{who}")
        tape.matched()
        tape.both_told(1, "proposed")
        tape.hears(1, type_, call_id=CALL, negotiation=1, video=None)
        for who in (0, 1):
            tape.hears(who, "call.ended", call_id=CALL, reason="no_answer", duration_ms=0, requeued=False)

        ended = kept_otherwise(
            reason="no_answer", live_at=None, duration_ms=0, ended_at=SERVER_MS + 30, connected=False
        )
        assert "early" in rules(tape, replace(ended, messages=[]))

    def test_servers_that_come_with_both_having_taken_it_are_no_fault(self) -> None:
        """From then on they are needed."""
        tape = on_the_phone()
        tape.hears(0, "call.ice_servers", call_id=CALL)
        tape.comes_to_its_end()

        assert rules(tape) == set()
