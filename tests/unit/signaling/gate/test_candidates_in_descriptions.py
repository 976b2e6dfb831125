"""Candidates that stand in a description: which may stay, whose they are, and how many there may be."""

import pytest

from base.errors import ErrorCode
from signaling.addresses import MAX_CANDIDATES, Passing
from signaling.candidates import AddressRule, Outcome
from signaling.sdp import SdpRefused
from tests.fixtures.sdp import section
from tests.unit.signaling.gate.hiding import CAPTURED, HIDDEN, OPEN, RELAYED, hide, with_line


def test_a_relayed_candidate_stays_in_its_place() -> None:
    """Rewritten as trickled ones are, those beside it left out."""
    passing = hide(CAPTURED["firefox_offer"])

    candidates = [line for line in passing.sdp.split("\r\n") if line.startswith("a=candidate:")]
    assert passing.candidates == (Outcome.NOT_RELAYED, Outcome.NOT_UDP, Outcome.NOT_RELAYED, Outcome.PASSED)
    assert len(candidates) == 1
    assert candidates[0].endswith(" 1 udp 92217087 198.51.100.7 50011 typ relay raddr 0.0.0.0 rport 0")


@pytest.mark.parametrize("rule", [OPEN, HIDDEN], ids=["open", "hidden"])
@pytest.mark.parametrize(
    "line",
    [
        "a=candidate:",
        "a=candidate:1 1 udp 1 203.0.113.9 99999 typ host",
        "a=candidate:1 1 udp 1 203.0.113.9 9 typ",
        f"{RELAYED} ufrag bbbb",
    ],
)
def test_malformed_and_foreign_candidates_refuse_their_description(line: str, rule: AddressRule) -> None:
    """In one description nothing can be late, so whoever writes that is told."""
    with pytest.raises(SdpRefused) as caught:
        hide(with_line(line), rule)

    assert caught.value.code is ErrorCode.SDP_INVALID


def test_a_candidate_names_the_credentials_of_the_section_it_stands_in() -> None:
    """Each section's own, in every section."""
    ufrags = ["aaaa", "bbbb", "cccc", "dddd", "eeee"]
    first = with_line(f"{RELAYED} ufrag aaaa")
    others = [section("text", ufrag, f"a=ice-ufrag:{ufrag}", port=0) for ufrag in ufrags[1:]]

    def named(ufrags: list[str]) -> str:
        lines = [f"{RELAYED} ufrag {ufrag}\r\n" for ufrag in ufrags]
        return first + "".join(part + line for part, line in zip(others, lines, strict=True))

    for rule in (OPEN, HIDDEN):
        assert hide(named(ufrags[1:]), rule).candidates == (Outcome.PASSED,) * 5
        for wrong in range(4):
            with pytest.raises(SdpRefused):
                hide(named([*ufrags[1 : wrong + 1], "zzzz", *ufrags[wrong + 2 :]]), rule)


def test_only_lines_of_their_own_are_candidates() -> None:
    """What stands within another attribute is that attribute's."""
    for line in (
        "a=x:a=candidate:nonsense",
        "a=candidate",
        "a=candidates:nonsense",
        "a=candidate-s:nonsense",
    ):
        sdp = with_line(line)

        assert hide(sdp, OPEN) == Passing(sdp)
        assert hide(sdp).left_out == 1


def test_a_candidate_that_stands_in_no_section_is_left_out() -> None:
    """Some read them there."""
    passing = hide(with_line(RELAYED, where="session"))

    assert passing.candidates == (Outcome.FOREIGN,)
    assert "candidate" not in passing.sdp


@pytest.mark.parametrize("rule", [OPEN, HIDDEN], ids=["open", "hidden"])
@pytest.mark.parametrize("line", [RELAYED, RELAYED.replace("relay", "host")])
def test_a_description_has_forty_candidates_at_most(rule: AddressRule, line: str) -> None:
    """Those that do not pass count too."""
    assert MAX_CANDIDATES == 40
    assert len(hide(with_line("\r\n".join([line] * 40)), rule).candidates) == 40
    with pytest.raises(SdpRefused):
        hide(with_line("\r\n".join([line] * 41)), rule)
