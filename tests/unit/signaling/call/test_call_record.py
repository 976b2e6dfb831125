"""The stored form of a call."""

import msgspec
import pytest

from base.ids import UserId
from base.policy import IntentPolicy
from signaling.call import events
from signaling.call.record import decode, encode, recorded
from signaling.protocol.messages.call import MediaStats
from tests.unit.signaling.call.conversation import Conversation, wants_connection


def test_a_record_survives_being_stored() -> None:
    """With everything in it that a call can have."""
    talk = Conversation.live(mutual=True, call_seconds=90.5, after=10)
    talk.does(events.VideoRequested("a"))
    talk.does(events.VideoApproved("b", "receive"))
    talk.does(events.VideoRevoked("a"))
    talk.does(events.VideoRequested("b"))
    talk.does(events.ExtensionRequested("a"))
    talk.does(events.QualityReported("a", MediaStats(rtt_ms=12.5, packets_lost=3)))
    talk.does(wants_connection("b"))
    talk.does(wants_connection("a"))

    assert decode(encode(talk.call)) == talk.call


def test_fields_of_a_newer_release_are_ignored() -> None:
    """In the call, its seats and its policy: nodes of two releases work side by side."""
    call = Conversation.live().call
    raw = msgspec.msgpack.decode(encode(call))
    for part in (raw, raw["a"], raw["policy"]):
        part["from_the_future"] = {"any": "thing"}

    assert decode(msgspec.msgpack.encode(raw)) == call


def test_fields_that_an_older_release_did_not_write_have_defaults() -> None:
    """What the first record of a call needs is all that must be there."""
    call = Conversation.proposed().call
    raw = msgspec.msgpack.decode(encode(call))
    for name in ("events", "refusals", "resets", "connected", "video_request", "ends_at"):
        del raw[name]
    for name in ("stats", "hidden", "video_off_at", "freed"):
        del raw["a"][name]
    del raw["policy"]["revoke_window_s"]

    assert decode(msgspec.msgpack.encode(raw)) == call


def test_what_is_no_record_is_refused() -> None:
    """By msgspec's own error."""
    with pytest.raises(msgspec.DecodeError):
        decode(b"\x93\x01\x02\x03")


def test_the_policy_in_a_record_is_a_copy_of_the_intents() -> None:
    """Every field of it, so that all nodes decide alike while a configuration is rolled out."""
    policy = IntentPolicy(call_seconds=7, max_extensions=0)

    assert msgspec.structs.asdict(recorded(policy)) == msgspec.structs.asdict(policy)


def test_people_are_found_by_who_they_are() -> None:
    """And nobody else is."""
    call = Conversation.proposed().call

    assert call.seat_of(UserId("user-a")) == "a"
    assert call.seat_of(UserId("user-b")) == "b"
    assert call.seat_of(UserId("user-c")) is None
