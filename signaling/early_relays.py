"""Relays from other nodes that come before the record by which they were judged.

Decides that a relay waits until this node knows as much of the call as the sender's did, that those behind it wait too,
and that one load serves them all.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog

from base.errors import Unavailable
from base.ids import CallId
from signaling.calls import CallService
from signaling.local_call import LocalCalls
from signaling.node_frames import Relayed
from signaling.relays import Relays

logger = structlog.get_logger(__name__)

_MAX_HELD: Final = 64


class EarlyRelays:
    """What arrives from the peers' nodes, in order for each call."""

    def __init__(
        self,
        calls: CallService,
        local: LocalCalls,
        relays: Relays,
        run_soon: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._calls = calls
        self._local = local
        self._relays = relays
        self._run_soon = run_soon
        self._held: dict[CallId, deque[Relayed]] = {}

    def arrived(self, frame: Relayed) -> None:
        """Takes a relay; it is judged and passed on as soon as this node's view is as new as the sender's was."""
        call_id = CallId(frame.call_id)
        held = self._held.get(call_id)
        if held is not None:
            if len(held) < _MAX_HELD:
                held.append(frame)
            return
        call = self._local.get(call_id)
        if call is not None and frame.version <= call.stored.call.version:
            self._relays.arrived(frame)
            return
        self._held[call_id] = deque((frame,))
        self._run_soon(self._catch_up(call_id))

    async def _catch_up(self, call_id: CallId) -> None:
        try:
            await self._calls.catch_up(call_id)
        except (Unavailable, msgspec.MsgspecError) as error:
            # The record is out of reach, or of a release that this one cannot read. The next relay tries again.
            logger.warning("relays dropped: no record", call_id=call_id, error=type(error).__name__)
            return
        finally:
            # Whatever happened: nothing may wait for a load that is over.
            held = self._held.pop(call_id)
        for frame in held:
            self._relays.arrived(frame)
