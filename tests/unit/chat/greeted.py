"""What a session is greeted with, before anything of chat is told to it."""

from signaling.protocol.messages import session as wire

CONNECTION = {"connection_id": "01890000-0000-7000-8000-000000000000"}
LIMITS = wire.Limits(
    max_frame_bytes=1,
    max_sdp_bytes=1,
    messages_per_s=1,
    messages_burst=1,
    outbox_messages=1,
    outbox_bytes=1,
    unanswered_pings_ms=1,
    chat_per_s=1,
    max_chat_characters=1,
    max_watched=1,
)


def greeting() -> wire.SessionReady:
    return wire.SessionReady(
        session_id=CONNECTION["connection_id"],
        user_id=CONNECTION["connection_id"],
        heartbeat_s=1,
        resume_window_s=1,
        token_expires_at=1,
        limits=LIMITS,
        features=[],
        intents=[],
        server_now=1,
        snapshot=wire.Snapshot(presence="idle"),
    )
