"""What a session is asked to do, in order.

Decides what is done at once and what waits its turn: relays go from the read of one socket to the write of the
other without a task, unless a command of the same session is still running; whatever has to await runs one at a
time, so that a slow command delays only its own session. Refuses to know what a command does.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from structlog.contextvars import bind_contextvars

from base.errors import ErrorCode, MinuetError
from signaling.lines import Line
from signaling.protocol.codec import Request
from signaling.protocol.messages import session as wire
from signaling.protocol.messages.call import CallCandidates
from signaling.protocol.messages.chat import ChatRead, ChatSend, ChatTyping, PresenceUnwatch, PresenceWatch
from signaling.session_shell import SessionShell

if TYPE_CHECKING:  # a session has errands, so that its module imports this one
    from signaling.live_session import LiveSession

logger = structlog.get_logger(__name__)

_SILENT: Final = (wire.Ack, wire.Pong)
_CHAT: Final = (ChatSend, ChatRead, ChatTyping, PresenceWatch, PresenceUnwatch)


class Errands:
    """The requests of one session that are under way or wait for their turn."""

    __slots__ = ("_chat", "_commands", "_shell")

    def __init__(self, shell: SessionShell) -> None:
        self._shell = shell
        self._commands = Line()
        self._chat = Line()
        """Apart from the commands: a database that is slow to keep a message must not hold up a hangup."""

    @property
    def are_under_way(self) -> bool:
        """Whether one is running or in line."""
        return self._commands.is_busy or self._chat.is_busy

    def clear(self) -> None:
        """Nothing that waits is done any more; what is running runs to its end."""
        self._commands.clear()
        self._chat.clear()

    def take(self, live: "LiveSession", request: Request) -> None:
        """Does a request at once or puts it in line."""
        message = request.message
        if message.RELAYED and not self._commands.is_busy:
            self._relay(live, request)
            return
        if isinstance(message, _SILENT):
            return
        line = self._chat if isinstance(message, _CHAT) else self._commands
        if len(line) >= self._shell.limits.pending_commands:
            live.refuse(request.id, MinuetError(code=ErrorCode.RATE_LIMITED, retry_after_ms=1000))
            return
        work = line.add(request, partial(self._do, live))
        if work is not None:
            live.run_soon(work)

    async def _do(self, live: "LiveSession", request: Request) -> None:
        if request.message.RELAYED:
            self._relay(live, request)
        else:
            await self._command(live, request)

    async def _command(self, live: "LiveSession", request: Request) -> None:
        call_id = getattr(request.message, "call_id", live.call_id)
        # For every line that is logged meanwhile. Nothing to take back: a line of errands is done in a task of its own, whose
        # context ends with it.
        bind_contextvars(session_id=live.id, call_id=call_id, message_type=request.message.TYPE)
        try:
            data = await self._shell.dispatcher.handle(live, request)
        except MinuetError as error:
            if not live.is_over:
                live.refuse(request.id, error)
        except Exception:
            # Broad: the boundary of a command. The client is told that it failed, and can go on.
            logger.exception(
                "command failed", message_type=request.message.TYPE, session_id=live.id, call_id=call_id
            )
            live.refuse(request.id, MinuetError())
        else:
            if not live.is_over and request.id is not None:
                live.reply(request.id, data)

    def _relay(self, live: "LiveSession", request: Request) -> None:
        try:
            self._shell.dispatcher.relay(live, request)
        except MinuetError as error:
            live.refuse(request.id, error)
            return
        if request.message.TYPE == CallCandidates.TYPE:
            # Nobody waits for it, as an answerer does who may apply the answer then.
            live.reply_soon(request.id)
        else:
            live.reply(request.id, None)
