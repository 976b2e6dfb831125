"""What a new session is told first: its limits, and all that the client needs to draw its screen."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from base.clock import ServerClock
from base.ids import ConnectionId, UserId
from chat.rules import MAX_BODY, MAX_WATCHED
from presence.sessions import Registered
from signaling.live_session import LiveSession
from signaling.protocol.messages import session as wire
from signaling.protocol.messages.call import CallState
from signaling.sdp import MAX_BYTES
from signaling.session.heartbeat import IDLE_BEAT
from signaling.session.limits import SessionLimits
from signaling.session_shell import DETACHED_MS
from signaling.versions import LeastVersions

Unread = Callable[[UserId], Awaitable[Mapping[ConnectionId, int] | None]]
"""How many messages a user has not read, by connection; None where nobody knows. Answers soon and raises nothing."""

_ALL_SERVED: Final = LeastVersions()
FEATURES: Final = ("video", "extend", "connect", "resume", "chat", "presence")


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """What is told to every new session, and how strict the hub is with messages."""

    limits: SessionLimits
    intents: Sequence[str]
    strict: bool
    least_versions: LeastVersions = _ALL_SERVED


def presence_of(live: LiveSession) -> str:
    """What the device's own user is doing, in the words of the snapshot."""
    if live.call_id is not None:
        return "call"
    if live.away:
        return "away"
    return "queued" if live.ticket is not None else "idle"


def session_ready(
    live: LiveSession,
    registered: Registered,
    call: CallState | None,
    unread: Mapping[ConnectionId, int] | None,
    policy: SessionPolicy,
    now_ms: int,
) -> wire.SessionReady:
    """The greeting of a session that has just begun; `call` is the one that its device is in."""
    limits = policy.limits
    ticket = live.ticket if call is None else None
    presence = registered.activity.partition(":")[0] or "idle"
    if live.away or registered.activity_device == live.device_id:
        presence = presence_of(live)
    return wire.SessionReady(
        session_id=live.id,
        user_id=live.user_id,
        heartbeat_s=IDLE_BEAT.silence_ms / 1000,
        resume_window_s=DETACHED_MS / 1000,
        token_expires_at=live.identity.expires_at_ms,
        limits=wire.Limits(
            max_frame_bytes=limits.max_frame_bytes,
            max_sdp_bytes=MAX_BYTES,
            messages_per_s=limits.messages.per_s,
            messages_burst=int(limits.messages.burst),
            outbox_messages=limits.outbox_messages,
            outbox_bytes=limits.outbox_bytes,
            unanswered_pings_ms=IDLE_BEAT.answer_ms,
            chat_per_s=limits.chat.per_s,
            max_chat_characters=MAX_BODY,
            max_watched=MAX_WATCHED,
        ),
        features=list(FEATURES),
        intents=list(policy.intents),
        server_now=now_ms,
        snapshot=wire.Snapshot(
            presence=presence,
            ticket=None
            if ticket is None
            else wire.TicketView(
                intent=ticket.intent, ticket_id=ticket.ticket_id, queued_at=ticket.queued_at
            ),
            call=call,
            unread=None if unread is None else {str(one): count for one, count in unread.items()},
        ),
    )


class Welcome:
    """Says it, with what has to be looked up for it."""

    def __init__(self, policy: SessionPolicy, unread: Unread, clock: ServerClock) -> None:
        self._policy = policy
        self._clock = clock
        self.unread = unread

    def ready(
        self,
        live: LiveSession,
        registered: Registered,
        call: CallState | None,
        unread: Mapping[ConnectionId, int] | None,
    ) -> wire.SessionReady:
        """As `session_ready`, at this moment."""
        return session_ready(live, registered, call, unread, self._policy, self._clock.now_ms())

    def resumed(self, live: LiveSession, last_seq: int) -> wire.SessionResumed:
        """To a client that goes on after the message of that number."""
        return wire.SessionResumed(
            session_id=live.id,
            replay_from=last_seq,
            last_id=live.session.last_id,
            token_expires_at=live.identity.expires_at_ms,
            server_now=self._clock.now_ms(),
        )
