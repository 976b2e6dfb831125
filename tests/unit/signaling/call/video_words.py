"""What people do about video, in as few words as the tests of it need, and for whom it is open then."""

from typing import Literal

from signaling.call import events
from signaling.call.states import Seat
from tests.unit.signaling.call.conversation import Conversation

ask = events.VideoRequested
deny = events.VideoDenied
revoke = events.VideoRevoked


def approve(seat: Seat, direction: Literal["both", "receive"] = "both") -> events.VideoApproved:
    return events.VideoApproved(seat, direction)


def allowed(talk: Conversation) -> tuple[bool, bool]:
    return talk.a.video_allowed, talk.b.video_allowed
