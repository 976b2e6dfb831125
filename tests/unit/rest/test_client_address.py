"""Which address a request comes from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rest.client_address import UNKNOWN, TrustedProxies, forwarded_client, subscriber

PROXIES = TrustedProxies.parse(["10.0.0.0/8", "fd00::/8", "203.0.113.7/32"])


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        # Nobody in front: the header is whatever the client wrote.
        ("198.51.100.1", "", "198.51.100.1"),
        ("198.51.100.1", "1.2.3.4", "198.51.100.1"),
        ("198.51.100.1", "10.0.0.1", "198.51.100.1"),
        # One proxy.
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # The client wrote something before the proxy did.
        ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "10.9.9.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4,198.51.100.1", "198.51.100.1"),
        # Several proxies of ours.
        ("10.0.0.1", "198.51.100.1, 203.0.113.7, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        # A proxy that is not ours ends the chain.
        ("10.0.0.1", "1.2.3.4, 203.0.113.8, 10.0.0.2", "203.0.113.8"),
        # All of them ours: the one furthest away, e.g. a health check.
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # What is no address ends the chain: the proxy that passed it on is all that is known.
        ("10.0.0.1", "198.51.100.1, garbage", "10.0.0.1"),
        ("10.0.0.1", "garbage, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.1, , 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "_hidden", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1;drop", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.999", "10.0.0.1"),
        ("10.0.0.1", "0x7f.1", "10.0.0.1"),
        # Ports, brackets, IPv6 and IPv4 inside it.
        ("10.0.0.1", "198.51.100.1:443", "198.51.100.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "[2001:DB8:0::1]:443", "2001:db8::1"),
        ("fd00::1", "2001:db8::1, fd00::2", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "1.2.3.4", "fe80::1"),
        # A socket without an address.
        ("", "198.51.100.1", UNKNOWN),
        ("/run/minuet.sock", "198.51.100.1", UNKNOWN),
    ],
)
def test_the_first_untrusted_address_from_the_right_is_the_client(
    peer: str, header: str, client: str
) -> None:
    """What stands left of it the client may have made up."""
    assert forwarded_client(peer, [header], PROXIES) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    """The default."""
    assert forwarded_client("127.0.0.1", ["1.2.3.4"], TrustedProxies()) == "127.0.0.1"


def test_a_chain_without_end_is_cut() -> None:
    """A megabyte of commas costs nothing; neither does a loop of proxies."""
    assert forwarded_client("10.0.0.1", ["," * 1_000_000], PROXIES) == "10.0.0.1"
    assert forwarded_client("10.0.0.1", ["1.2.3.4," + "10.0.0.9," * 200 + "10.0.0.9"], PROXIES) == "10.0.0.9"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "everywhere", ""])
def test_a_network_with_a_typing_error_is_refused(text: str) -> None:
    """At start, not in the middle of the night."""
    with pytest.raises(ValueError, match=r".+"):
        TrustedProxies.parse([text])


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        (UNKNOWN, UNKNOWN),
    ],
)
def test_a_subscriber_has_one_limit(address: str, counted_as: str) -> None:
    """With IPv6 everybody has more addresses than there are limits to count them in."""
    assert subscriber(address) == counted_as


@given(st.text(max_size=60), st.text(max_size=200))
def test_any_header_gives_an_address_or_unknown(peer: str, header: str) -> None:
    """Nothing else is raised or returned."""
    address = forwarded_client(peer, [header], PROXIES)

    assert address == UNKNOWN or forwarded_client(address, "", PROXIES) == address


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("255.255.255.255", "255.255.255.255"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104  an address like any other here
        ("256.1.1.1", UNKNOWN),
        ("1.2.3", UNKNOWN),
        ("1.2.3.4.5", UNKNOWN),
        ("01.2.3.4", UNKNOWN),
        ("1.2.3.4:80", "1.2.3.4"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("", UNKNOWN),
    ],
)
def test_without_proxies_the_peer_is_the_client(peer: str, client: str) -> None:
    """In one form, whatever the header says; what is no address is nobody."""
    assert forwarded_client(peer, ["9.9.9.9"], TrustedProxies()) == client
