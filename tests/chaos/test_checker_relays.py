"""What is planted into relays is found: doubled, changed places, made up."""

from tests.chaos.checker_tape import CALL, Tape, on_the_phone, rules


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
