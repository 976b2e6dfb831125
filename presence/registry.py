"""Which sessions a user has, and where: registering, leaving, looking up.

Decides whose row counts: only that of a living node. Refuses to know what a session does.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from base.errors import Unavailable
from base.ids import DeviceId, NodeId, UserId
from presence.errors import TooManyDevices
from presence.ports import Nodes, SessionStore
from presence.sessions import MAX_DEVICES, DevicesFull, Registered, Registration, SessionRow

RestoreBlocks = Callable[[UserId], Awaitable[bool]]
"""Brings back what the store does not know of a user's blocks; whether they are known now. Raises nothing."""


class Registry:
    """The sessions of all users. Every method raises `Unavailable` where the store is away."""

    def __init__(
        self,
        store: SessionStore,
        nodes: Nodes,
        *,
        max_devices: int = MAX_DEVICES,
        restore_blocks: RestoreBlocks | None = None,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._max_devices = max_devices
        self._restore_blocks = restore_blocks
        self.make_sure: Callable[[], Awaitable[None]] = _nothing_to_ask
        """Asked before a user is taken for one that the store never knew; raises Unavailable where it may have forgotten.

        Set by whoever knows."""
        self.supersede: Callable[[SessionRow, int], None] = lambda _row, _generation: None
        """Told of an older session that has to give way to one of this generation; set by whoever can reach its node."""

    async def register(self, registration: Registration) -> Registered:
        """Makes the device's row name this session; the newest session of a device wins.

        Raises:
            TokenRevoked: the token was taken back.
            BegunAnew: the row that it was to take over from does not stand there any more.
            TooManyDevices: the user has sessions on enough other devices, all on living nodes.
        """
        answer = await self._store.register(registration, max_devices=self._max_devices)
        if isinstance(answer, DevicesFull):
            # Rarely needed, hence asked for only now: which of those rows are a dead node's.
            answer = await self._register_beside_the_dead(registration, answer)
        if answer.blocks_known:
            return answer
        try:
            await self.make_sure()
        except Unavailable:
            with suppress(Unavailable):
                await self._store.unregister(registration, answer.generation)
            raise
        if self._restore_blocks is None:
            return answer
        # Before anybody can be matched: the store may have lost what the archive still knows.
        return replace(answer, blocks_known=await self._restore_blocks(registration.user_id))

    async def reassert(
        self, registration: Registration, generation: int, *, blocks_later: bool = False
    ) -> int | None:
        """Registers a live session again: its device is back, its node is another incarnation, or the store lost it.

        With `blocks_later` the caller sees to it that the user's blocks are known.

        Returns:
            The session's new generation; None when its device has another session by now: close this one.

        Raises:
            TokenRevoked: as for `register`.
        """
        answer = await self._store.reassert(registration, generation)
        if answer is None:
            return None
        if answer.superseded is not None:
            self.supersede(answer.superseded, answer.generation)
        if not (answer.blocks_known or blocks_later or self._restore_blocks is None):
            await self._restore_blocks(registration.user_id)
        return answer.generation

    async def unregister(self, registration: Registration, generation: int) -> bool:
        """The session has ended; false where the device's row was no longer its own."""
        return await self._store.unregister(registration, generation)

    async def note_away(self, registration: Registration, generation: int, away: bool) -> bool:
        """The user is away, or back, on this device; false where the device's row is no longer the session's own."""
        return await self._store.note_away(registration, generation, away)

    async def sessions(self, user_id: UserId) -> list[SessionRow]:
        """The user's sessions on living nodes."""
        rows = await self._store.sessions(user_id)
        if not rows:
            return rows
        living = await self._nodes.living()
        return [row for row in rows if row.node_id in living]

    async def where(self, user_id: UserId, device_id: DeviceId) -> SessionRow | None:
        """The session of a device, on whichever node, alive or not."""
        return await self._store.where(user_id, device_id)

    async def is_living(self, node_id: NodeId) -> bool:
        """Whether a node incarnation has its lease."""
        return node_id in await self._nodes.living()

    async def _register_beside_the_dead(self, registration: Registration, full: DevicesFull) -> Registered:
        living = await self._nodes.living()
        dead = {row.node_id for row in full.rows} - living
        if not dead:
            raise TooManyDevices
        again = await self._store.register(
            registration, max_devices=self._max_devices, ignored_nodes=sorted(dead)
        )
        if isinstance(again, Registered):
            return again
        if {row.node_id for row in again.rows} <= living:
            raise TooManyDevices
        raise Unavailable  # nodes die and sessions come faster than we look; the client tries again


async def _nothing_to_ask() -> None:
    """Where nobody looks after what the store has lost, it has lost nothing."""
