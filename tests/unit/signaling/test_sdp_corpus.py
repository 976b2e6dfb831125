"""The corpus of descriptions: each gets the verdict that stands beside it, and the corpus itself is sound."""

import contextlib
import ipaddress
import re
from collections import Counter

import pytest

from base.errors import ErrorCode
from signaling import sdp
from tests.corpus.cases import ACCEPTED, HERE, IMPLEMENTATIONS, PERMISSIONS, Case, cases
from tests.corpus.judging import hidden, verdict

GATE_CODES = {
    ErrorCode.SDP_INVALID,
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.MEDIA_KIND_FORBIDDEN,
    ErrorCode.VIDEO_NOT_ALLOWED,
    ErrorCode.ANSWER_MISMATCH,
}
JUDGEMENTS = [
    pytest.param(case, permission, id=f"{case.id}-{permission}")
    for case in cases().values()
    for permission in case.verdicts
]
PASSING = [case for case in cases().values() if ACCEPTED in case.verdicts.values()]
# Addresses that mean none, and the ranges that are kept for documentation (RFC 5737, RFC 3849).
HARMLESS = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/32",
        "127.0.0.1/32",
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/32",
    )
]


@pytest.mark.parametrize(("case", "permission"), JUDGEMENTS)
def test_each_description_gets_its_verdict(case: Case, permission: str) -> None:
    """Honest ones pass under the permission that their direction needs, what browsers read in two ways never."""
    assert verdict(case.sdp, case.offer, permission) == case.verdicts[permission], (
        f"{case.why} ({case.origin})"
    )


@pytest.mark.parametrize("case", PASSING, ids=lambda case: case.id)
def test_hidden_addresses_leave_the_verdict_as_it_is(case: Case) -> None:
    """The recipient's node judges what the sender's has filtered: sections, directions and mids are the same."""
    filtered = hidden(case.sdp)

    assert sdp.parse(filtered) == sdp.parse(case.sdp)
    assert addresses(filtered) <= {"0.0.0.0"}  # noqa: S104, no socket is bound to it
    assert hidden(filtered) == filtered


def test_there_are_enough_cases_and_no_two_alike() -> None:
    """A description that stands there twice would only seem to test something."""
    texts = Counter((case.sdp, case.offer) for case in cases().values())
    twice = [case.id for case in cases().values() if texts[case.sdp, case.offer] > 1]

    assert len(cases()) >= 150
    assert twice == []


def test_every_code_of_the_gate_has_cases() -> None:
    """What is refused nowhere in the corpus is not tested by it."""
    seen = {code for case in cases().values() for code in case.verdicts.values()}

    assert seen == {ACCEPTED, *GATE_CODES}


def test_every_case_is_judged_as_voice_only_and_says_why() -> None:
    """Nothing beyond the voice is what holds in most calls."""
    for case in cases().values():
        assert "voice" in case.verdicts, case.id
        assert case.verdicts.keys() <= set(PERMISSIONS), case.id
        assert case.why, case.id


def test_more_permission_never_refuses_what_less_allowed() -> None:
    """A verdict that were stricter with permission than without would be a mistake in the corpus."""
    for case in cases().values():
        if case.verdicts["voice"] == ACCEPTED:
            assert set(case.verdicts.values()) == {ACCEPTED}, case.id
            assert {verdict(case.sdp, case.offer, permission) for permission in PERMISSIONS} == {ACCEPTED}, (
                case.id
            )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_every_captured_description_has_its_entry(implementation: str) -> None:
    """A capture that nobody judged would be forgotten."""
    captured = {file.stem for file in (HERE / "captured" / implementation).glob("*.sdp")}
    judged = {
        case.id.partition("/")[2] for case in cases().values() if case.id.startswith(f"{implementation}/")
    }

    assert captured == judged


def test_captured_lines_end_as_they_were_made() -> None:
    """A checkout that changed line ends would test something else."""
    files = [*HERE.glob("captured/*/*.sdp")]

    assert files
    for file in files:
        text = file.read_bytes()
        assert text.count(b"\n") == text.count(b"\r\n") > 0, file.name


def test_the_corpus_holds_no_address_of_a_real_machine() -> None:
    """Captures are published; whose machine made them is nobody's business."""
    texts = {
        path: path.read_text(encoding="utf-8") for path in HERE.rglob("*") if path.suffix in (".sdp", ".toml")
    }
    found = {(path, ipaddress.ip_address(word)) for path, text in texts.items() for word in addresses(text)}

    assert found
    assert [one for one in found if not any(one[1] in network for network in HARMLESS)] == []


def test_the_corpus_holds_no_host_name_of_a_real_browser() -> None:
    """An mDNS name is made for one page, and stands for its address. Ours are numbers."""
    names = {
        name
        for file in HERE.glob("captured/*/*.sdp")
        for name in re.findall(r"[\w-]+\.local", file.read_text(encoding="utf-8"))
    }

    assert names
    assert all(name.startswith("00000000-0000-4000-8000-") for name in names), names


def addresses(text: str) -> set[str]:
    """All words that are addresses."""
    found = set()
    for word in re.findall(r"[0-9A-Fa-f:.]{2,}", text):
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(word)
            found.add(word)
    return found
