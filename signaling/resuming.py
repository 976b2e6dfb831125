"""Where the session is that a client comes back to, and how it gets to the node where the client is now.

Decides by the row of the session in the store, which whoever wants the session sets to itself first: of two nodes the one
that set it last gets the session. Refuses to know what is told to the client.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from accounts.model import Identity
from base.ids import DeviceId, NodeId, SessionId, UserId
from presence.registry import Registry
from presence.sessions import Registration, SessionRow
from signaling.handover import Handovers, Land
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.protocol.messages.session import SessionResume, SessionStart
from signaling.router import Router
from signaling.rows import registration_for
from signaling.session.crossing_effects import Refusal

logger = structlog.get_logger(__name__)

_CLAIMS: Final = 4
"""Whoever loses the row so often to others leaves the session to them."""


class Outcome(StrEnum):
    """What became of an attempt to resume, for counters."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    """It was on another node, and is here now."""
    UNKNOWN = "unknown"
    """Over, or never was; or of another user or device."""
    DEAD = "dead"
    """Its node is gone."""
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    INCOMPLETE = "incomplete"
    """Messages were lost, or the client speaks another subprotocol now."""
    NEWER = "newer"
    """The client came back elsewhere, too, and later."""
    SUPERSEDED = "superseded"
    """Its device has begun another session."""
    LEFT = "left"
    """The client went away before it was told."""


@dataclass(frozen=True, slots=True)
class Found:
    """The session is on this node, and the row is ours."""

    live: LiveSession
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Claim:
    """Who comes back, to which session."""

    identity: Identity
    session_id: SessionId
    device_id: DeviceId
    gone: Callable[[], bool]
    """Whether the client has left again."""


def claim_of(first: SessionResume, identity: Identity, gone: Callable[[], bool]) -> Claim:
    return Claim(identity, SessionId(first.session_id), DeviceId(first.device_id), gone)


class Resuming:
    """Brings sessions to their clients."""

    def __init__(self, hub: Hub, router: Router, registry: Registry, handovers: Handovers) -> None:
        self._hub = hub
        self._router = router
        self._registry = registry
        self._handovers = handovers

    async def bring(self, claim: Claim, land: Land) -> Found | Outcome:
        """The session, with the row set to this node; or why it cannot go on. Raises: RegistrationRefused, Unavailable."""
        live = self._hub.session(claim.session_id)
        if live is not None:
            found = await self._keep(live, claim, live.generation, land)
            if found is not None:
                return found
        async with self._handovers.room:
            for _ in range(_CLAIMS):
                if claim.gone():
                    return Outcome.LEFT
                outcome = await self._try(claim, land)
                if outcome is not None:
                    return outcome
        return Outcome.NEWER

    async def orphan(self, first: SessionStart | SessionResume, identity: Identity) -> SessionRow | None:
        """The row to this node, with no session behind it, of a client that asked for that and was given none.

        Whoever leaves it so has its user online here for as long as this node lives. Raises: Unavailable.
        """
        if not isinstance(first, SessionResume):
            return None
        row = await self._registry.where(UserId(identity.user_id), DeviceId(first.device_id))
        if row is None or row.session_id != first.session_id or row.node_id != self._router.node_id:
            return None
        is_somewhere = self._hub.session(row.session_id) or self._handovers.knows_of(row.session_id)
        return None if is_somewhere else row

    async def _keep(
        self, live: LiveSession, claim: Claim, generation: int, land: Land
    ) -> Found | Outcome | None:
        """Goes on with a session of this node; None where the row is of another generation."""
        if live.user_id != claim.identity.user_id or live.device_id != claim.device_id:
            return Outcome.UNKNOWN
        if claim.gone():
            return Outcome.LEFT
        ours = await self._registry.reassert(self._registration(claim), generation)
        if ours is None:
            return None
        if self._hub.session(live.id) is not live:
            # While we waited it ended, or went to another node. The row is ours now, so it has to come back, also
            # where its client has left again: else nobody could find it.
            went_to = self._handovers.went_to(live.id)
            return None if went_to is None else await self._take(claim, went_to, ours, land)
        return self._found_here(live, ours)

    def _found_here(self, live: LiveSession, ours: int) -> Found:
        live.generation = max(live.generation, ours)
        self._handovers.kept(live.id, ours)
        return Found(live, Outcome.HERE)

    async def _try(self, claim: Claim, land: Land) -> Found | Outcome | None:
        """One attempt; None where another node was quicker."""
        row = await self._registry.where(UserId(claim.identity.user_id), claim.device_id)
        if row is None or row.session_id != claim.session_id:
            return Outcome.UNKNOWN
        live = self._hub.session(claim.session_id)
        if live is not None:
            # Another node has claimed it, and has not got it yet.
            return await self._keep(live, claim, row.generation, land)
        if self._handovers.expects(claim.session_id):
            # The client's last attempt is not through yet: the row may name this node, and the session be on its way.
            return None
        holder = row.node_id
        if holder == self._router.node_id and not self._handovers.awaits(claim.session_id):
            # It may have left while the row was being set.
            went_to = self._handovers.went_to(claim.session_id)
            if went_to is None:
                return Outcome.UNKNOWN
            holder = went_to
        if holder != self._router.node_id and not await self._registry.is_living(holder):
            return Outcome.DEAD
        if claim.gone():
            # Not a moment later: whoever claims takes the session from where it is.
            return Outcome.LEFT
        with self._handovers.expecting(claim.session_id):
            ours = await self._registry.reassert(self._registration(claim), row.generation)
            if ours is None:
                return None
            live = self._hub.session(claim.session_id)
            if live is not None:
                # It came meanwhile, for the client's last attempt.
                return self._found_here(live, ours)
            return await self._take(claim, holder, ours, land)

    async def _take(self, claim: Claim, holder: NodeId, ours: int, land: Land) -> Found | Outcome:
        taken = await self._handovers.take(claim.session_id, ours, holder, land)
        if isinstance(taken, LiveSession):
            is_here = self._hub.session(claim.session_id) is taken and not taken.is_over
            return Found(taken, Outcome.ELSEWHERE) if is_here else Outcome.NEWER
        logger.info("session did not come", session_id=claim.session_id, reason=taken, was_on=holder)
        match taken:
            case Refusal.NEWER:
                return Outcome.NEWER
            case Refusal.SUPERSEDED:
                return Outcome.SUPERSEDED
            case Refusal.BUSY | Refusal.NO_ANSWER | Refusal.GONE:
                lost = Outcome.UNKNOWN if taken is Refusal.GONE else Outcome(taken.value)
                return await self._still_ours(claim, ours, lost)

    async def _still_ours(self, claim: Claim, ours: int, lost: Outcome) -> Outcome:
        """Why it did not come: lost, or somebody newer has it."""
        row = await self._registry.where(UserId(claim.identity.user_id), claim.device_id)
        if row is None or row.generation <= ours:
            return lost
        return Outcome.NEWER if row.session_id == claim.session_id else Outcome.SUPERSEDED

    def _registration(self, claim: Claim) -> Registration:
        return registration_for(claim.identity, claim.device_id, claim.session_id, self._router.node_id)
