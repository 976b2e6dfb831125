"""The registry of message types: which class stands behind which `type` on the wire."""

from signaling.protocol.messages import call, chat, presence, queue, session
from signaling.protocol.messages.family import ClientMessage, ServerMessage

CLIENT_MESSAGES: dict[str, type[ClientMessage]] = {
    message.TYPE: message
    for message in (
        session.SessionStart,
        session.SessionResume,
        session.SessionRefresh,
        session.SessionEnd,
        session.Ack,
        session.Pong,
        presence.PresenceSet,
        queue.QueueJoin,
        queue.QueueLeave,
        call.CallAccept,
        call.CallDecline,
        call.CallOffer,
        call.CallAnswer,
        call.CallCandidates,
        call.CallMedia,
        call.CallIceServersRequest,
        call.CallExtend,
        call.CallExtendReply,
        call.CallHangup,
        call.VideoRequest,
        call.VideoApprove,
        call.VideoDeny,
        call.VideoRevoke,
        call.ConnectRequest,
        call.ConnectPass,
        call.SafetyBlock,
        call.SafetyReport,
        chat.ChatSend,
        chat.ChatRead,
        chat.ChatTyping,
        chat.PresenceWatch,
        chat.PresenceUnwatch,
    )
}

SERVER_MESSAGES: dict[str, type[ServerMessage]] = {
    message.TYPE: message
    for message in (
        session.Ok,
        session.ErrorReply,
        session.Ping,
        session.SessionReady,
        session.SessionResumed,
        session.SessionExpiring,
        session.SessionDrain,
        session.SessionSuperseded,
        queue.QueueLeft,
        queue.QueueStatus,
        queue.MatchFound,
        call.CallState,
        call.CallOfferRelayed,
        call.CallAnswerRelayed,
        call.CallCandidatesRelayed,
        call.CallNegotiationFailed,
        call.CallReset,
        call.CallIceServers,
        call.CallExtendRequested,
        call.CallEnded,
        call.VideoRequested,
        call.VideoAllowed,
        call.VideoDenied,
        call.VideoRevoked,
        call.ConnectPrompt,
        call.ConnectionMade,
        chat.ConnectionEnded,
        chat.ChatMessage,
        chat.ChatReadUpTo,
        chat.ChatIsTyping,
        chat.PresenceUpdate,
    )
}
