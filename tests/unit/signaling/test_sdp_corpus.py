"""The corpus of descriptions: each gets the verdict that stands beside it, and the corpus itself is sound."""

import ipaddress
import re
from collections import Counter
from pathlib import Path

import pytest

from base.errors import ErrorCode
from signaling import sdp
from tests.corpus.cases import ACCEPTED, HERE, IMPLEMENTATIONS, PERMISSIONS, Case, cases

ALLOWANCES = {
    "voice": sdp.Allowance(),
    "send": sdp.Allowance(send_video=True),
    "receive": sdp.Allowance(receive_video=True),
    "both": sdp.Allowance(send_video=True, receive_video=True),
    "data": sdp.Allowance(data_channels=True),
    "everything": sdp.Allowance(send_video=True, receive_video=True, data_channels=True),
}
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


def verdict(case: Case, permission: str) -> str:
    """What the hub would say to this description under this permission, in the order in which it asks."""
    try:
        description = sdp.parse(case.sdp)
        if case.offer is not None:
            sdp.check_answer(sdp.parse(case.offer), description)
        sdp.judge(description, ALLOWANCES[permission])
    except sdp.SdpRefused as refused:
        return refused.code
    return ACCEPTED


@pytest.mark.parametrize(("case", "permission"), JUDGEMENTS)
def test_each_description_gets_its_verdict(case: Case, permission: str) -> None:
    """Honest descriptions of every stage pass or are refused by their direction; hostile ones never pass as voice."""
    assert verdict(case, permission) == case.verdicts[permission], f"{case.why} ({case.origin})"


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
            assert {verdict(case, permission) for permission in PERMISSIONS} == {ACCEPTED}, case.id


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
    for file in HERE.glob("captured/*/*.sdp"):
        text = file.read_bytes()
        assert text.count(b"\n") == text.count(b"\r\n") > 0, file.name


def test_the_corpus_holds_no_address_of_a_real_machine() -> None:
    """Captures are published; whose machine made them is nobody's business."""
    for file in (path for path in HERE.rglob("*") if path.suffix in (".sdp", ".toml")):
        assert found_addresses(file) == [], file


def found_addresses(file: Path) -> list[str]:
    """The addresses of a file that could belong to somebody."""
    words = re.findall(r"[0-9A-Fa-f:.]{2,}", file.read_text(encoding="utf-8"))
    found = []
    for word in words:
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            continue
        if not any(address in network for network in HARMLESS):
            found.append(word)
    return found
