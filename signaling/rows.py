"""The rows of this node's sessions in their users' slots, as those see them who change a slot on a session's behalf.

Decides what is done when a slot does not know the session: it is registered again, once, and whatever was asked is asked
again. Where its device has another session by now, it ends. Refuses to know why the row is gone, but has the store asked.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from accounts.model import Identity
from base.errors import CloseCode, Unavailable
from base.ids import DeviceId, NodeId, SessionId, UserId
from matchmaker.ports import Caller, StoreHealth, UnknownSession
from presence.errors import RegistrationRefused
from presence.registry import Registry
from presence.sessions import Registered, Registration, SessionRow
from signaling.live_session import LiveSession
from signaling.router import Router

T = TypeVar("T")


class Health(StoreHealth, Protocol):
    """As the matchmaker wants it, and for those who let people in."""

    async def is_whole(self) -> bool:
        """Whether nothing was lost, and nothing is being put back, at this moment."""
        ...

    async def sure(self) -> None:
        """As `settled`; a loss that nobody has noticed until now is noticed, and waited for, too."""
        ...


class Rows:
    """Keeps sessions known to the slots of their users."""

    def __init__(self, registry: Registry, router: Router, health: Health) -> None:
        self._registry = registry
        self._router = router
        self.health = health

    @property
    def node_id(self) -> NodeId:
        """The node that the rows are to name."""
        return self._router.node_id

    async def register(
        self,
        identity: Identity,
        device_id: DeviceId,
        session_id: SessionId,
        instead_of: SessionRow | None = None,
    ) -> Registered:
        """Makes the device's row name a new session of this node. Raises: RegistrationRefused, Unavailable."""
        registration = registration_for(identity, device_id, session_id, self._router.node_id)
        return await self._registry.register(replace(registration, instead_of=instead_of))

    async def of(self, user_id: UserId, device_id: DeviceId) -> SessionRow | None:
        """The row of a device, which may have no session there yet; None where its node is dead. Raises: Unavailable."""
        row = await self._registry.where(user_id, device_id)
        if row is None or row.node_id == self._router.node_id or await self._registry.is_living(row.node_id):
            return row
        return None

    async def act(self, live: LiveSession, step: Callable[[Caller], Awaitable[T]]) -> T:
        """Takes a step on the session's behalf; again, where the slot did not know the session before.

        Raises: what the step raises; `UnknownSession` where the session is over.
        """
        try:
            return await step(caller_of(live))
        except UnknownSession:
            await self.health.look()
            if not await self.register_again(live):
                raise
            return await step(caller_of(live))

    async def register_again(self, live: LiveSession, *, blocks_later: bool = False) -> bool:
        """Writes the session's row again, under a new generation; False where the session may not go on, and is over.

        With `blocks_later` somebody else sees to it that the user's blocks are known.
        Raises: Unavailable.
        """
        registration = registration_of(live, self._router.node_id)
        try:
            generation = await self._registry.reassert(
                registration, live.generation, blocks_later=blocks_later
            )
        except RegistrationRefused as refused:
            live.end(refused.close_code, str(refused.code))
            return False
        if live.is_over:
            return False
        if generation is None:
            row = await self._registry.where(live.user_id, live.device_id)
            if row is not None and row.session_id == live.id:
                # The device has come back on another node, which is about to ask for this very session.
                live.freeze()
            else:
                live.end(CloseCode.SUPERSEDED, "superseded")
            return False
        live.generation = max(live.generation, generation)
        if live.away and not await self._registry.note_away(registration, live.generation, live.away):
            raise Unavailable("the row was written by somebody else at the same moment")
        return True


def caller_of(live: LiveSession) -> Caller:
    """As whom a session changes its user's slot."""
    return Caller(live.device_id, live.id, live.generation)


def registration_of(live: LiveSession, node_id: NodeId) -> Registration:
    """What a node says of a session that it has."""
    return registration_for(live.identity, live.device_id, live.id, node_id)


def registration_for(
    identity: Identity, device_id: DeviceId, session_id: SessionId, node_id: NodeId
) -> Registration:
    """What a node says of a session that it is to have."""
    return Registration(
        UserId(identity.user_id), device_id, session_id, node_id, identity.issued_at_ms, identity.family_id
    )
