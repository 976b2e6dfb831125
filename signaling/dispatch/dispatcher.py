"""From message to service: who does what a client asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from base.errors import CloseCode, ErrorCode, MinuetError
from signaling.authentication import Authentication
from signaling.dispatch.call import CallCommands, CallMessage
from signaling.dispatch.chat import ChatCommands, ChatRequest
from signaling.dispatch.ice import IceServersCommand
from signaling.dispatch.presence import PresenceCommands
from signaling.dispatch.queue import QueueCommands
from signaling.dispatch.safety import SafetyCommands
from signaling.live_session import LiveSession
from signaling.protocol.codec import Request
from signaling.protocol.messages import call as call_wire
from signaling.protocol.messages import presence as presence_wire
from signaling.protocol.messages import queue as queue_wire
from signaling.protocol.messages import session as session_wire
from signaling.relays import RelayMessage, Relays


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Who does what clients ask, family by family."""

    queue: QueueCommands
    calls: CallCommands
    ice: IceServersCommand
    safety: SafetyCommands
    presence: PresenceCommands
    chat: ChatCommands


class MessageDispatcher:
    """Hands each message to the service of its family."""

    def __init__(self, relays: Relays, authentication: Authentication, commands: Commands) -> None:
        self._relays = relays
        self._authentication = authentication
        self._commands = commands

    def relay(self, live: LiveSession, request: Request) -> None:
        """Passes a description or candidates on, at once. Raises: MinuetError."""
        message = request.message
        if not message.RELAYED:
            raise TypeError(f"{message.TYPE} is not relayed")
        # By the name of its type; `isinstance` would take longer than all of this.
        self._relays.relay(live, cast(RelayMessage, message))

    async def handle(self, live: LiveSession, request: Request) -> Mapping[str, Any] | None:
        """Does a command; the result is the data of its `ok`. Raises: MinuetError."""
        match request.message:
            case queue_wire.QueueJoin() as message:
                return await self._commands.queue.join(live, message)
            case queue_wire.QueueLeave():
                return await self._commands.queue.leave(live)
            case presence_wire.PresenceSet() as message:
                return await self._commands.presence.set(live, message)
            case session_wire.SessionRefresh(token=token):
                return await self._refresh(live, token)
            case session_wire.SessionEnd():
                live.reply(request.id, None)
                live.end(CloseCode.NORMAL, "ended")
                return None
            case call_wire.CallIceServersRequest() as message:
                return await self._commands.ice.handle(live, message)
            case call_wire.SafetyBlock() | call_wire.SafetyReport() as message:
                return await self._commands.safety.handle(live, message)
            case message if isinstance(message, ChatRequest):
                return await self._commands.chat.handle(live, message)
            case message if isinstance(message, CallMessage):
                return await self._commands.calls.handle(live, message)
            case message:
                raise MinuetError(f"{message.TYPE} only begins a session", code=ErrorCode.BAD_STATE)

    async def _refresh(self, live: LiveSession, token: str) -> Mapping[str, Any]:
        identity = await self._authentication.identify(token)
        if identity.user_id != live.user_id:
            raise MinuetError("the token is another user's", code=ErrorCode.UNAUTHENTICATED)
        live.renew(identity)
        return {"token_expires_at": identity.expires_at_ms}
