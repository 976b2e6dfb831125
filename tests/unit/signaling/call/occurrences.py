"""Everything that can happen to a call, in all its variants: for tests that try all of it."""

from base.errors import ErrorCode
from base.ids import ConnectionId, DeviceId, NodeId, SessionId
from signaling.call import events
from signaling.call.events import Event
from signaling.call.states import SEATS, Seat
from signaling.protocol.messages.call import MediaStats
from tests.unit.signaling.call.conversation import attached, detached, session_ended, wants_connection


def of_seat(seat: Seat) -> list[Event]:
    """What one seat can do, or what can be noticed of it; sessions and devices right and wrong."""
    return [
        events.Accepted(seat),
        events.Declined(seat),
        events.HungUp(seat),
        events.HungUp(seat, passes=True),
        events.MediaConnected(seat, answer_relayed=True),
        events.MediaConnected(seat, answer_relayed=False),
        events.MediaDisconnected(seat),
        events.MediaFailed(seat),
        attached(seat),
        attached(seat, node="node-elsewhere"),
        attached(seat, session=f"session-{seat}-new"),
        events.SeatAttached(
            seat, SessionId(f"session-{seat}"), NodeId(f"node-{seat}"), DeviceId("device-foreign")
        ),
        detached(seat),
        events.SeatDetached(seat, SessionId(f"session-{seat}-new")),
        session_ended(seat),
        events.SessionEnded(seat, SessionId("session-unknown")),
        events.VideoRequested(seat),
        events.VideoApproved(seat, "both"),
        events.VideoApproved(seat, "receive"),
        events.VideoDenied(seat),
        events.VideoRevoked(seat),
        events.VideoStopped((seat,)),
        events.ExtensionRequested(seat),
        events.ExtensionAnswered(seat, accept=True),
        events.ExtensionAnswered(seat, accept=False),
        wants_connection(seat),
        events.ConnectRequested(seat, ConnectionId(f"connection-of-{seat}")),
        events.ConnectPassed(seat),
        events.QueueJoined(seat),
        events.Blocked(seat),
        events.PartnerUnavailable(seat),
        events.PartnerUnavailable(seat, still_waiting=True),
        events.SignalingLimitReached(seat),
        events.Moderated(seat),
        events.QualityReported(seat, MediaStats(rtt_ms=30)),
        events.RelayRefused(seat, ErrorCode.SDP_INVALID),
    ]


OCCURRENCES: list[Event] = [
    *(event for seat in SEATS for event in of_seat(seat)),
    events.VideoStopped(),
    events.Moderated(),
    events.TimerFired(),
]

ENDING = (
    events.Declined,
    events.HungUp,
    events.SessionEnded,
    events.Blocked,
    events.PartnerUnavailable,
    events.SignalingLimitReached,
    events.Moderated,
)
AGREEING = (
    events.VideoRequested,
    events.VideoApproved,
    events.VideoDenied,
    events.VideoRevoked,
    events.VideoStopped,
    events.ExtensionRequested,
    events.ExtensionAnswered,
    events.ConnectRequested,
    events.ConnectPassed,
    events.MediaConnected,
    events.TimerFired,
)


def _weight(event: Event) -> int:
    return 1 if isinstance(event, ENDING) else 12 if isinstance(event, AGREEING) else 3


MOSTLY_GOING_ON: list[Event] = [event for event in OCCURRENCES for _ in range(_weight(event))]
"""The same with few that end a call and many that two people agree or disagree by: so random walks get far."""
