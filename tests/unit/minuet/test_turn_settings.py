"""What the TURN settings come to, and which are refused."""

from ipaddress import ip_address

import pytest

from base.policy import IpPrivacy
from minuet.settings import InvalidSettings, Settings, load
from minuet.turn import admin_addresses, ice_servers, relay_ranges, visits_after_ms, with_ip_privacy

TURN = {
    "MINUET_TURN_URLS": "turn:turn.example:3478?transport=udp,turns:turn.example:443?transport=tcp",
    "MINUET_TURN_SECRET": "a secret that is shared with coturn",
    "MINUET_TURN_RELAY_ADDRESSES": "198.51.100.7,2001:db8::/64",
    "MINUET_TURN_RELAY_PORTS": "49160-49200",
    "MINUET_TURN_ADMIN": "127.0.0.1:5766,[::1]:5767",
    "MINUET_TURN_ADMIN_PASSWORD": "password-of-the-admin-interface",
}


def without(*names: str, **changes: str) -> Settings:
    kept = {name: value for name, value in TURN.items() if name not in names}
    return load({**kept, **changes})


def test_the_settings_become_servers_ranges_and_admin_addresses() -> None:
    """Two URLs, two networks over one range of ports, one admin interface of each family."""
    settings = load(TURN)
    ranges = relay_ranges(settings)
    turn = ice_servers(settings).turn

    assert turn is not None
    assert len(turn.urls) == 2
    assert turn.credential_ms == 300_000
    assert ranges.contain(ip_address("198.51.100.7"), 49_160)
    assert ranges.contain(ip_address("2001:db8::1"), 49_200)
    assert not ranges.contain(ip_address("198.51.100.8"), 49_160)
    assert not ranges.contain(ip_address("198.51.100.7"), 49_201)
    assert admin_addresses(settings) == (("127.0.0.1", 5766), ("::1", 5767))


def test_with_turn_servers_addresses_are_hidden_unless_an_intent_says_otherwise(tmp_path: object) -> None:
    """The default is decided in one place, for every intent that leaves it open."""
    assert {policy.ip_privacy for policy in with_ip_privacy(load(TURN)).intents.values()} == {IpPrivacy.RELAY}
    assert {policy.ip_privacy for policy in with_ip_privacy(load({})).intents.values()} == {IpPrivacy.OFF}
    chosen = load(TURN, {"intents": {"friends": {"ip_privacy": "off"}}})
    assert with_ip_privacy(chosen).intents["friends"].ip_privacy is IpPrivacy.OFF
    assert with_ip_privacy(chosen).intents["dating"].ip_privacy is IpPrivacy.RELAY


def test_hidden_addresses_without_a_turn_server_are_refused_at_start() -> None:
    """Else every call would fail to connect, or somebody would be promised what is not kept."""
    with pytest.raises(InvalidSettings, match=r"intents\.dating.*MINUET_TURN_URLS"):
        with_ip_privacy(load({}, {"intents": {"dating": {"ip_privacy": "relay"}}}))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (without("MINUET_TURN_SECRET"), "turn_secret"),
        (without(MINUET_TURN_SECRET="short"), "turn_secret"),
        (without("MINUET_TURN_RELAY_ADDRESSES"), "turn_relay_addresses"),
        (without(MINUET_TURN_RELAY_ADDRESSES="turn.example"), "turn_relay_addresses"),
        (without(MINUET_TURN_RELAY_PORTS="49200-49160"), "turn_relay_ports"),
        (without(MINUET_TURN_RELAY_PORTS="all"), "turn_relay_ports"),
        (without(MINUET_TURN_URLS="stun:turn.example"), "turn_urls"),
        (without("MINUET_TURN_ADMIN_PASSWORD"), "turn_admin_password"),
        (without(MINUET_TURN_ADMIN_PASSWORD="two\nlines"), "turn_admin_password"),
        (without(MINUET_TURN_ADMIN="127.0.0.1"), "turn_admin"),
        (without(MINUET_TURN_ADMIN="127.0.0.1:0"), "turn_admin"),
    ],
)
def test_settings_that_could_not_work_name_what_is_wrong(settings: Settings, named: str) -> None:
    """At start, and by the name of the setting."""
    with pytest.raises(InvalidSettings, match=f"^{named}:"):
        with_ip_privacy(settings)


def test_secrets_are_read_from_files(tmp_path: object) -> None:
    """Both are secrets as the others are: `MINUET_..._FILE`."""
    path = f"{tmp_path}/secret"
    with open(path, "w") as file:
        file.write("a secret of twenty characters\n")
    settings = load({"MINUET_TURN_SECRET_FILE": path, "MINUET_TURN_ADMIN_PASSWORD_FILE": path})

    assert settings.turn_secret == settings.turn_admin_password == "a secret of twenty characters"


def test_the_last_visit_comes_when_no_credential_holds_any_longer() -> None:
    """At once, after 5 s, and after a credential's life from the end of media; never where there is no TURN."""
    assert visits_after_ms(load(TURN)) == (0, 5_000, 305_000)
    assert visits_after_ms(load({})) == ()
    assert visits_after_ms(load({"MINUET_TURN_ADMIN": "127.0.0.1:5766"})) == (0, 5_000, 305_000)
