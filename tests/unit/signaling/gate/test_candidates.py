"""The candidate filter: what of trickled candidates reaches a stranger."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from base.errors import ErrorCode
from signaling.candidates import (
    AddressRule,
    CandidateInvalid,
    Outcome,
    RelayRange,
    RelayRanges,
    check_trickled,
    filter_trickled,
    parse,
)
from signaling.protocol.messages.call import IceCandidate
from signaling.sdp import Description
from signaling.sdp import parse as parse_description
from tests.fixtures.sdp import audio, description, video

TURN = RelayRange((ip_network("198.51.100.7/32"), ip_network("2001:db8:7::/64")), 50_000, 50_999)
HIDDEN = AddressRule(relay_only=True, ranges=RelayRanges((TURN, RelayRange((ip_network("192.0.2.0/30"),)))))
OPEN = AddressRule()
RELAYED = "candidate:99 1 udp 41885439 198.51.100.7 50004 typ relay raddr 203.0.113.9 rport 40004"
DESCRIPTION = parse_description(
    description(audio() + "a=ice-ufrag:aaaa\r\n", video("inactive") + "a=ice-ufrag:vvvv\r\n")
)
WITHOUT_UFRAG = parse_description(description(audio()))


def trickle(
    text: str,
    rule: AddressRule = HIDDEN,
    *,
    mid: str | None = "0",
    ufrag: str | None = None,
    of: Description = DESCRIPTION,
) -> tuple[str | None, Outcome]:
    """What passes of one candidate, and what became of it."""
    passing, [outcome] = filter_trickled([IceCandidate(candidate=text, mid=mid, ufrag=ufrag)], of, rule)
    if not passing:
        return None, outcome
    assert (passing[0].mid, passing[0].ufrag) == (mid, ufrag)
    return passing[0].candidate, outcome


def test_a_relayed_candidate_passes_without_the_address_behind_it() -> None:
    """Foundation and related address, which come from the peer's own, are the server's."""
    passed, outcome = trickle(RELAYED)

    assert outcome is Outcome.PASSED
    assert passed is not None
    begin, rest = passed.split(" ", 1)
    assert rest == "1 udp 41885439 198.51.100.7 50004 typ relay raddr 0.0.0.0 rport 0"
    assert begin.removeprefix("candidate:").isdigit()
    assert begin != "candidate:99"
    assert trickle(passed) == (passed, Outcome.PASSED)


def test_a_relayed_candidate_of_ipv6_passes_in_its_short_form() -> None:
    """Its related address is `::`."""
    passed, _ = trickle("candidate:1 1 UDP 5 2001:0DB8:7:0:0:0:0:1 50000 typ relay raddr fe80::1 rport 9")

    assert passed is not None
    assert passed.endswith(" 1 udp 5 2001:db8:7::1 50000 typ relay raddr :: rport 0")


def test_foundations_say_which_candidates_share_a_server_and_no_more() -> None:
    """Equal for one relayed address, whatever the peer wrote, different for another (RFC 8445)."""
    lines = [
        RELAYED,
        RELAYED.replace(":99 ", ":1234567890 ").replace("50004", "50008"),
        RELAYED.replace("198.51.100.7", "192.0.2.1"),
    ]

    one, same, other = (str(trickle(line)[0]).split(" ")[0] for line in lines)

    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (RELAYED.replace("relay", "host"), Outcome.NOT_RELAYED),
        (RELAYED.replace("relay", "srflx"), Outcome.NOT_RELAYED),
        (RELAYED.replace("relay", "prflx"), Outcome.NOT_RELAYED),
        (RELAYED.replace("relay", "RELAY"), Outcome.NOT_RELAYED),
        ("candidate:1 1 udp 1 203.0.113.9 50004 typ host", Outcome.NOT_RELAYED),
        # "typ relay" proves nothing.
        (RELAYED.replace("198.51.100.7", "203.0.113.9"), Outcome.OUTSIDE_RANGES),
        (RELAYED.replace("198.51.100.7", "2001:db8:8::1"), Outcome.OUTSIDE_RANGES),
        (RELAYED.replace("198.51.100.7", "::ffff:198.51.100.7"), Outcome.OUTSIDE_RANGES),
        (RELAYED.replace("50004", "49999"), Outcome.OUTSIDE_RANGES),
        (RELAYED.replace("50004", "51000"), Outcome.OUTSIDE_RANGES),
        (RELAYED.replace("50004", "0"), Outcome.OUTSIDE_RANGES),
        # Within the address of one server and the ports of the other.
        (RELAYED.replace("50004", "60000"), Outcome.OUTSIDE_RANGES),
        (RELAYED.replace(" udp ", " tcp "), Outcome.NOT_UDP),
        (RELAYED.replace(" udp ", " ssltcp "), Outcome.NOT_UDP),
        (RELAYED.replace(" udp ", " zzz "), Outcome.NOT_UDP),
        (RELAYED.replace(" udp ", " UdP "), Outcome.PASSED),
        (RELAYED + " tcptype active", Outcome.PASSED),
        (
            RELAYED.replace("198.51.100.7", "2f5ab1ac-8b4b-4a7e-93c4-4d4a76a1b1c3.local"),
            Outcome.HOSTNAME,
        ),
        (RELAYED.replace("198.51.100.7", "relay.example.org"), Outcome.HOSTNAME),
        (RELAYED.replace("198.51.100.7", "198.51.100.07"), Outcome.HOSTNAME),
        (RELAYED.replace("198.51.100.7", "198.51.100"), Outcome.HOSTNAME),
        (RELAYED.replace("198.51.100.7", "3325256711"), Outcome.HOSTNAME),
        (RELAYED.replace("198.51.100.7", "2001:db8:7::1::"), Outcome.HOSTNAME),
        (RELAYED.replace("50004", "50000"), Outcome.PASSED),
        (RELAYED.replace("50004", "50999"), Outcome.PASSED),
        (RELAYED.replace("198.51.100.7", "192.0.2.3").replace("50004", "65535"), Outcome.PASSED),
        (RELAYED.replace("198.51.100.7", "192.0.2.4").replace("50004", "65535"), Outcome.OUTSIDE_RANGES),
    ],
)
def test_only_udp_at_our_turn_servers_passes(text: str, outcome: Outcome) -> None:
    """Everything else is dropped, and it is counted why."""
    passed, became = trickle(text)

    assert became is outcome
    assert (passed is not None) is (outcome is Outcome.PASSED)


def test_without_ranges_nothing_passes() -> None:
    """Addresses stay hidden where somebody forgot to say where the servers relay."""
    assert trickle(RELAYED, AddressRule(relay_only=True)) == (None, Outcome.OUTSIDE_RANGES)


@pytest.mark.parametrize(
    ("extensions", "left"),
    [
        ("generation 0 network-id 1 network-cost 999", " generation 0 network-id 1 network-cost 999"),
        ("ufrag aaaa", " ufrag aaaa"),
        ("x-addr 203.0.113.9 generation 3", " generation 3"),
        ("generation 203.0.113.9", ""),
        ("network-id fe80::1", ""),
        ("network-cost 123456", ""),
        ("generation 1.2.3", ""),
        ("generation fe::1", ""),
        ("network-id a", ""),
        ("network-cost -1", ""),
        ("raddr 203.0.113.9 rport 9", ""),
        ("x-ufrag 1 z 2 ufrag aaaa", " ufrag aaaa"),
        ("203.0.113.9 203.0.113.9", ""),
        ("GENERATION 1", ""),
    ],
)
def test_no_address_rides_along_in_an_extension(extensions: str, left: str) -> None:
    """Only those pass that are known to hold none."""
    passed, _ = trickle(f"{RELAYED} {extensions}")

    assert passed is not None
    assert passed.partition(" rport 0")[2] == left


@pytest.mark.parametrize("rule", [OPEN, HIDDEN], ids=["open", "hidden"])
@pytest.mark.parametrize(
    "text",
    [
        "candidate",
        "candidate:",
        "x",
        f"a={RELAYED}",
        f" {RELAYED}",
        f"{RELAYED} ",
        f"{RELAYED} generation",
        f"{RELAYED}\r\na=sendrecv",
        f"{RELAYED}\n",
        f"{RELAYED} generation 0\tufrag x",
        RELAYED.replace(":99 ", ": "),
        RELAYED.replace(":99 ", ":9.9 "),
        RELAYED.replace(":99 ", f":{'9' * 33} "),
        RELAYED.replace(" 1 udp", " 0 udp"),
        RELAYED.replace(" 1 udp", " 257 udp"),
        RELAYED.replace(" 1 udp", " 0001 udp"),
        RELAYED.replace(" 1 udp", f" {'1' * 5000} udp"),
        RELAYED.replace(" udp ", " u.p "),
        RELAYED.replace(" udp ", " 203.0.113.9 "),
        RELAYED.replace(" udp ", f" {'u' * 17} "),
        RELAYED.replace("candidate:", "candidate "),
        RELAYED.replace("candidate:", "xcandidate:"),
        RELAYED.replace(" 41885439 ", f" {'1' * 5000} "),
        RELAYED.replace(" 41885439 ", " 00041885439 "),
        RELAYED.replace("50004", "050004"),
        RELAYED.replace("50004", "1" * 5000),
        RELAYED.replace("typ relay", f"typ {'r' * 17}"),
        RELAYED.replace("typ relay", "typ re.lay"),
        RELAYED.replace("198.51.100.7", "198.51.100.7/32"),
        RELAYED.replace("198.51.100.7", "a\u00e9.local"),
        f"{RELAYED} x y\u00e9",
        f"{RELAYED} x\u00e9 y",
        f"{RELAYED}  x",
        f"{RELAYED} x  y",
        f"{RELAYED} ufrag aaaa ufrag aaaa",
        f"{RELAYED} ufrag aaaa generation 0 ufrag bbbb",
        RELAYED.replace(" 41885439 ", " 0 "),
        RELAYED.replace(" 41885439 ", " 2147483648 "),
        RELAYED.replace(" 41885439 ", " -1 "),
        RELAYED.replace(" 41885439 ", " 1.5 "),
        RELAYED.replace(" 1 udp", " x udp"),
        RELAYED.replace("50004", "5x"),
        RELAYED.replace("198.51.100.7", "fe80::1%eth0"),
        RELAYED.replace("198.51.100.7", "[2001:db8:7::1]"),
        RELAYED.replace("198.51.100.7", "x" * 256),
        RELAYED.replace("198.51.100.7", "\u0661.1.1.1"),
        RELAYED.replace("50004", "65536"),
        RELAYED.replace("50004", "\u0661"),
        RELAYED.replace("typ", "type"),
        RELAYED.replace("typ relay", "typ"),
        RELAYED.replace("  ", " ").replace(" 1 ", "  1 "),
    ],
)
def test_what_is_no_candidate_is_refused_and_told(text: str, rule: AddressRule) -> None:
    """No browser makes these, so whoever does is told, in both modes."""
    with pytest.raises(CandidateInvalid) as caught:
        trickle(text, rule)

    assert caught.value.code is ErrorCode.CANDIDATE_INVALID
    with pytest.raises(CandidateInvalid):
        check_trickled([IceCandidate(candidate=RELAYED), IceCandidate(candidate=text)])


HONEST = [
    "candidate:842163049 1 udp 1677729535 203.0.113.9 46154 typ srflx raddr 192.168.1.5 rport 46154 generation 0"
    " ufrag aaaa network-id 1 network-cost 10",
    "candidate:1510613869 1 tcp 1518280447 192.168.1.5 9 typ host tcptype active generation 0 ufrag aaaa",
    "candidate:1 1 udp 2113937151 2f5ab1ac-8b4b-4a7e-93c4-4d4a76a1b1c3.local 54400 typ host",
    "candidate:0 1 UDP 2122252543 192.168.1.5 54321 typ host",
    "candidate:3 2 TCP 2105524478 2001:db8::5 9 typ host tcptype active",
    "candidate:aA+/09 256 udp 2147483647 203.0.113.9 0 typ prflx raddr 0.0.0.0 rport 0",
    "candidate:4 1 udp 1 203.0.113.9 65535 typ host raddr 10.0.0.1",
    "candidate:4 1 udp 1 203.0.113.9 65535 typ host rport 9",
    RELAYED,
    "",
]


@pytest.mark.parametrize("text", HONEST)
def test_where_addresses_are_not_hidden_candidates_pass_as_they_are(text: str) -> None:
    """Those of Chromium, Firefox and aiortc, of all types."""
    assert trickle(text, OPEN) == (text, Outcome.PASSED)
    check_trickled([IceCandidate(candidate=text)])


@pytest.mark.parametrize("rule", [OPEN, HIDDEN], ids=["open", "hidden"])
@pytest.mark.parametrize(
    ("mid", "ufrag", "inside", "belongs"),
    [
        ("0", None, None, True),
        ("0", "aaaa", None, True),
        ("0", None, "aaaa", True),
        ("0", "aaaa", "aaaa", True),
        ("1", "vvvv", None, True),
        (None, None, None, True),
        (None, "vvvv", None, True),
        (None, "vvvv", "vvvv", True),
        ("0", "vvvv", None, False),
        ("0", None, "vvvv", False),
        ("0", "aaaa", "vvvv", False),
        ("0", "vvvv", "aaaa", False),
        (None, "aaaa", "vvvv", False),
        (None, "oldd", None, False),
        ("2", None, None, False),
        ("203.0.113.9", "aaaa", None, False),
        ("0", "203.0.113.9", None, False),
        ("0", "", None, False),
    ],
)
def test_a_candidate_belongs_to_a_section_and_its_credentials(
    rule: AddressRule, mid: str | None, ufrag: str | None, inside: str | None, belongs: bool
) -> None:
    """What is late after an ICE restart, or names something else, is dropped."""
    text = RELAYED if inside is None else f"{RELAYED} ufrag {inside}"

    assert (trickle(text, rule, mid=mid, ufrag=ufrag)[1] is Outcome.PASSED) is belongs
    if inside is None:
        assert (trickle("", rule, mid=mid, ufrag=ufrag)[1] is Outcome.PASSED) is belongs


def test_names_of_sections_may_be_long() -> None:
    """They are compared by what they say."""
    named = parse_description(description(audio("voice-1")))

    assert trickle(RELAYED, mid="-".join(["voice", "1"]), of=named)[1] is Outcome.PASSED
    assert trickle(RELAYED, mid="voice-2", of=named)[1] is Outcome.FOREIGN


def test_where_the_description_names_no_credentials_the_candidate_may_not_either() -> None:
    """There is nothing it could belong to."""
    assert trickle(RELAYED, of=WITHOUT_UFRAG)[1] is Outcome.PASSED
    assert trickle(RELAYED, of=WITHOUT_UFRAG, ufrag="aaaa")[1] is Outcome.FOREIGN


def test_the_rest_of_a_batch_passes_in_its_order() -> None:
    """One that is dropped takes no other with it."""
    lines = [RELAYED, RELAYED.replace("relay", "host"), RELAYED.replace("50004", "50005")]

    passing, outcomes = filter_trickled([IceCandidate(candidate=line) for line in lines], DESCRIPTION, HIDDEN)

    assert [item.candidate.split(" ")[5] for item in passing] == ["50004", "50005"]
    assert outcomes == [Outcome.PASSED, Outcome.NOT_RELAYED, Outcome.PASSED]


@pytest.mark.parametrize(("first", "last"), [(0, 9), (9, 8), (1, 65_536)])
def test_a_range_of_ports_is_one(first: int, last: int) -> None:
    """A typing error in the settings stops the server instead of every call."""
    with pytest.raises(ValueError, match="no range of ports"):
        RelayRange((ip_network("192.0.2.1/32"),), first, last)


def test_a_server_relays_somewhere() -> None:
    """The same for a server without an address."""
    with pytest.raises(ValueError, match="at one address at least"):
        RelayRange(())


def test_unless_said_else_a_server_relays_at_the_ports_of_coturn() -> None:
    """The dynamic ports of RFC 6335."""
    usual = RelayRange((ip_network("192.0.2.1/32"),))

    assert (usual.first_port, usual.last_port) == (49_152, 65_535)


def test_a_server_may_have_a_single_port() -> None:
    """First and last are both in the range."""
    ranges = RelayRanges((RelayRange((ip_network("192.0.2.1/32"),), 1, 1),))

    assert ranges.contain(ip_address("192.0.2.1"), 1)
    assert not ranges.contain(ip_address("192.0.2.1"), 2)
    assert not ranges.contain(ip_address("192.0.2.2"), 1)


PIECES: Sequence[str] = (
    *(word for line in HONEST for word in line.split(" ")),
    *(
        "203.0.113.9",
        "fe80::1",
        "x.local",
        "198.51.100.7",
        "50004",
        "typ",
        "relay",
        "raddr",
        "rport",
        "ufrag",
    ),
)


@given(st.lists(st.sampled_from(PIECES), max_size=24).map(" ".join) | st.text(max_size=200))
@example(RELAYED + " raddr 203.0.113.9")
def test_whatever_comes_only_relayed_addresses_pass(text: str) -> None:
    """Nothing but the filter's own error, and nothing in what passes but one address, which is a server's."""
    try:
        passed, outcome = trickle(text)
    except CandidateInvalid:
        return

    assert (passed is None) is (outcome is not Outcome.PASSED)
    if passed:
        candidate = parse(passed)
        assert candidate.address is not None
        assert HIDDEN.ranges.contain(candidate.address, candidate.port)
        for word in passed.split(" ")[6:]:
            assert "." not in word or word == "0.0.0.0"  # noqa: S104  read, not bound
            assert ":" not in word or word == "::"
