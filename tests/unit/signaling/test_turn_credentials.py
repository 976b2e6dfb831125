"""TURN credentials: what coturn checks, for how long, for whom."""

import base64
import hashlib
import hmac

import msgspec
import pytest

from base.errors import ErrorCode
from base.policy import IpPrivacy
from signaling.call.record import Call
from signaling.call.states import EndReason, State
from signaling.call.view import call_state, match_found
from signaling.turn import SLACK_MS, IceServers, NoIceServers, TurnServers, mint, password_of
from tests.unit.signaling.call.conversation import START_MS, Conversation

URLS = ("turn:turn.example:3478?transport=udp", "turns:turn.example:443?transport=tcp")
SECRET = "what the hub and coturn share"
ICE = IceServers(("stun:stun.example:3478",), TurnServers(URLS, SECRET, 3_600_000))


def changed(**changes: object) -> Call:
    call = Conversation.proposed().call
    return msgspec.structs.replace(call, **changes)


def connecting() -> Call:
    return changed(state=State.CONNECTING, deadline_at=START_MS + 20_000)


def test_the_password_is_what_coturn_computes_from_the_user_name() -> None:
    """Base64 of HMAC-SHA1 over the user name, keyed by the shared secret."""
    minted = mint(ICE, connecting(), "a", START_MS)
    turn = minted.servers[-1]

    assert turn.username is not None
    expected = hmac.new(SECRET.encode(), turn.username.encode(), hashlib.sha1).digest()
    assert turn.credential == base64.b64encode(expected).decode() == password_of(turn.username, SECRET)
    assert turn.urls == list(URLS)


@pytest.mark.parametrize("seat", ["a", "b"])
def test_the_user_name_says_until_when_and_for_which_seat_of_which_call(seat: str) -> None:
    """`<expiry>:<call_id>.<seat>`, the expiry in whole Unix seconds and the same as `expires_at`."""
    call = connecting()
    minted = mint(ICE, call, "a" if seat == "a" else "b", START_MS)

    assert minted.expires_at is not None
    assert minted.expires_at % 1000 == 0
    assert minted.servers[-1].username == f"{minted.expires_at // 1000}:{call.call_id}.{seat}"


def test_a_credential_holds_no_longer_than_the_call_may_last() -> None:
    """From `connecting`: its own deadline, the clock and every extension; a little more for another clock."""
    call = connecting()
    policy = call.policy
    latest = START_MS + 20_000 + policy.call_seconds * (1 + policy.max_extensions) * 1000 + SLACK_MS

    assert mint(ICE, call, "a", START_MS).expires_at == latest // 1000 * 1000


@pytest.mark.parametrize("state", [State.LIVE, State.RECONNECTING])
def test_in_a_live_call_what_is_left_of_the_clock_counts(state: State) -> None:
    """The clock and the extensions that are left; the deadline of `reconnecting` ends nothing before."""
    call = changed(state=state, ends_at=START_MS + 60_000, deadline_at=START_MS + 15_000, extensions=2)

    assert mint(ICE, call, "b", START_MS).expires_at == (START_MS + 60_000 + SLACK_MS) // 1000 * 1000


def test_a_credential_holds_no_longer_than_the_operator_says() -> None:
    """Whatever the call may last: a client asks again before an ICE restart."""
    ice = IceServers((), TurnServers(URLS, SECRET, 60_000))

    assert mint(ice, connecting(), "a", START_MS).expires_at == (START_MS + 60_000) // 1000 * 1000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ErrorCode.BAD_STATE),
        ({"state": State.DECIDING}, ErrorCode.BAD_STATE),
        ({"state": State.ENDED, "reason": EndReason.DECLINED, "deadline_at": None}, ErrorCode.CALL_ENDED),
    ],
    ids=["proposed", "deciding", "ended"],
)
def test_nobody_gets_servers_outside_of_media(changes: dict[str, object], code: ErrorCode) -> None:
    """Before both accepted a decliner would harvest a relay; after media is over there is nothing to relay."""
    with pytest.raises(NoIceServers) as refusal:
        mint(ICE, changed(**changes), "a", START_MS)

    assert refusal.value.code is code


def test_a_seat_for_which_the_call_is_over_gets_none() -> None:
    """Also while the other still decides."""
    call = changed(state=State.DECIDING)
    call = msgspec.structs.replace(call, b=msgspec.structs.replace(call.b, freed=True))

    with pytest.raises(NoIceServers) as refusal:
        mint(ICE, call, "b", START_MS)
    assert refusal.value.code is ErrorCode.CALL_ENDED


def test_without_turn_there_is_stun_and_nothing_expires() -> None:
    """The servers carry no credentials then."""
    minted = mint(IceServers(("stun:stun.example:3478",)), connecting(), "a", START_MS)

    assert [server.urls for server in minted.servers] == [["stun:stun.example:3478"]]
    assert minted.servers[0].username is None
    assert minted.expires_at is None


def test_the_secret_shows_in_no_representation() -> None:
    """A log line or traceback with the settings in it gives nothing away."""
    assert SECRET not in repr(ICE)


@pytest.mark.parametrize(("privacy", "policy"), [("relay", "relay"), ("off", "all"), (None, "all")])
def test_clients_are_told_to_use_relays_only_where_addresses_are_hidden(
    privacy: str | None, policy: str
) -> None:
    """In `match.found` and in every view of the call; a record without the field is one of an earlier release."""
    call = Conversation.proposed(ip_privacy=None if privacy is None else IpPrivacy(privacy)).call

    assert match_found(call, "a", START_MS).ice_transport_policy == policy
    assert call_state(call, "b", START_MS).ice_transport_policy == policy
