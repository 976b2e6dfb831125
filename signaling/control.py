"""Acts on sessions from anywhere: sign-outs and bans close sockets within a second.

Every node reads the log of revocations with a cursor of its own, so that a missed message costs half a second and
not the effect. Where the store has lost something, what was taken back is looked up in the archive, put back into the
store, and held against the sessions of this node; until then nobody can say whether a token is void.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from accounts.model import Identity, Revocation, RevokeReason, Standing
from base.clock import ServerClock
from base.errors import CloseCode, Unavailable
from base.rounds import attempt
from signaling.hub import Hub
from signaling.live_session import LiveSession

logger = structlog.get_logger(__name__)

POLL_S: Final = 0.5
_UNKNOWN_RETRY_MS: Final = 500
_READ_AT_ONCE: Final = 1_000
# How long an entry may have taken from its clock to the log.
_LOG_LAG_MS: Final = 10_000
# Who was let in before a sign-out may be on this node's list only after it: for so long its own opening may take.
_OPENING_MS: Final = 30_000
_MOST_RECENT: Final = 10_000
_KEPT_OF_ONE: Final = 9


class RevocationStore(Protocol):
    """The log, and what it is about. All raise Unavailable."""

    async def tail(self) -> str: ...

    async def read_since(
        self, cursor: str, *, count: int = _READ_AT_ONCE
    ) -> tuple[str, Sequence[Revocation]]: ...

    async def restore(self, entries: Sequence[Revocation]) -> None:
        """Makes known again what the store may have lost; the log is left alone."""
        ...

    async def standing(self, identity: Identity) -> Standing: ...


class StoreHealth(Protocol):
    """Knows whether the store has lost something."""

    def restoring_ms(self) -> int:
        """For how much longer that is being put back; 0 when nothing is."""
        ...

    async def check(self) -> None:
        """Notices a loss that nobody has noticed until now."""
        ...


class RevocationArchive(Protocol):
    """What was taken back, as it is kept for good. Raises Unavailable."""

    async def revoked_since(self, since_ms: int) -> Sequence[Revocation]: ...


class Control:
    """Closes what may not go on."""

    def __init__(
        self,
        hub: Hub,
        store: RevocationStore,
        archive: RevocationArchive,
        clock: ServerClock,
        health: StoreHealth,
        *,
        token_life_ms: int,
    ) -> None:
        self._hub = hub
        self._store = store
        self._archive = archive
        self._clock = clock
        self._health = health
        self._token_life_ms = token_life_ms
        self._cursor: str | None = None
        self._lost_at: int | None = None
        self._wake = asyncio.Event()
        self._recent: OrderedDict[str, tuple[int, list[Revocation]]] = OrderedDict()
        """What was taken back from whom, and when this node heard of it last (monotonic ms), the oldest first."""
        hub.added = self._look_at
        self.rebuilt: Callable[[int], None] = lambda _number: None
        """Told how many revocations were looked up after a loss."""
        self.acted: Callable[[float], None] = lambda _seconds: None
        """Told of each sign-out and ban how long after it this node has acted on it."""
        self._read_at = clock.monotonic_ms()

    async def watch(self) -> None:
        """Follows the log until cancelled, and looks up what a store has lost; each goes on where it was after an outage."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_on(self.follow, asyncio.Event()))
            # Apart: a database that does not answer must not keep this node from hearing of new sign-outs.
            tasks.create_task(self._keep_on(self.rebuild, self._wake))

    async def follow(self) -> None:
        """Acts on what was taken back since the last time. Raises: Unavailable."""
        if self._cursor is None:
            self._cursor = await self._store.tail()
        is_more = True
        while is_more:
            before = self._cursor
            after, entries = await self._store.read_since(before, count=_READ_AT_ONCE)
            self._read_at = self._clock.monotonic_ms()
            # After a loss what was acted on already is read again.
            fresh = [entry for entry in entries if entry not in self._heard_of(entry.user_id)]
            self._act(entries)
            for entry in fresh:
                self.acted(max(0, self._clock.now_ms() - entry.before_ms) / 1000)
            is_more = len(entries) == _READ_AT_ONCE
            if self._cursor == before:  # else it was set back meanwhile, after a loss
                self._cursor = after

    async def rebuild(self) -> None:
        """Looks up what was taken back, if the store has lost something since. Raises: Unavailable."""
        lost_at = self._lost_at
        if lost_at is None:
            return
        entries = await self._archive.revoked_since(self._clock.now_ms() - self._token_life_ms)
        await self._store.restore(entries)
        self._act(entries)
        # Another server may be the store now, with a clock that is behind: its new entries would stand before our place.
        self._cursor = f"{lost_at - _LOG_LAG_MS}-0"
        if self._lost_at == lost_at:
            self._lost_at = None
        self.rebuilt(len(entries))
        logger.info("revocations rebuilt", number=len(entries))

    async def _keep_on(self, work: Callable[[], Awaitable[None]], wake: asyncio.Event) -> None:
        while True:
            await attempt(work, "revocations could not be read")
            try:
                async with asyncio.timeout(POLL_S):
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()

    async def forget(self) -> None:
        """The store has lost something: what was taken back is not known until it was looked up."""
        self._lost_at = self._clock.now_ms()
        self._wake.set()

    def unread_s(self) -> float:
        """How long ago the log was last read."""
        return (self._clock.monotonic_ms() - self._read_at) / 1000

    def unknown_for_ms(self) -> int:
        """For how much longer nobody can say which tokens are void, as far as one knows; 0 when one can."""
        if self._lost_at is None or self._clock.now_ms() - self._lost_at > self._token_life_ms:
            # Whatever was taken back before the loss has run out by itself.
            return 0
        return _UNKNOWN_RETRY_MS

    async def is_revoked(self, identity: Identity) -> bool:
        """As the store says; but letting everybody in while it does not know would undo every sign-out and ban.

        Raises: Unavailable.
        """
        self.refuse_unknown()
        standing = await self._store.standing(identity)
        if standing is Standing.UNKNOWN:
            await self.make_sure()
        self.refuse_unknown()
        return standing is Standing.REVOKED

    async def make_sure(self) -> None:
        """Nobody in the store knows a user: that is what it looks like when it has just been emptied. Raises: Unavailable."""
        await self._health.check()
        self.refuse_unknown()

    def refuse_unknown(self) -> None:
        """Raises: Unavailable while nobody can say which tokens are void."""
        if wait_ms := self.unknown_for_ms() or self._health.restoring_ms():
            raise Unavailable("sign-outs are being looked up again", retry_after_ms=wait_ms)

    def _act(self, entries: Sequence[Revocation]) -> None:
        if not entries:
            return
        now_ms = self._clock.monotonic_ms()
        for entry in entries:
            _, earlier = self._recent.pop(entry.user_id, (0, []))
            self._recent[entry.user_id] = now_ms, [*earlier[-_KEPT_OF_ONE:], entry]
        self._forget_old(now_ms)
        # Looked through once, however many entries there are.
        concerned: dict[str, list[LiveSession]] = {entry.user_id: [] for entry in entries}
        for live in self._hub:
            if live.user_id in concerned:
                concerned[live.user_id].append(live)
        for entry in entries:
            for live in concerned[entry.user_id]:
                _hold_against(entry, live)

    def _look_at(self, live: LiveSession) -> None:
        """Ends a session that was let in before its sign-out was heard here, and added after."""
        for entry in self._heard_of(live.user_id):
            _hold_against(entry, live)

    def _heard_of(self, user_id: str) -> Sequence[Revocation]:
        return self._recent.get(user_id, (0, ()))[1]

    def _forget_old(self, now_ms: int) -> None:
        while self._recent:
            user_id = next(iter(self._recent))
            if len(self._recent) <= _MOST_RECENT and self._recent[user_id][0] > now_ms - _OPENING_MS:
                return
            del self._recent[user_id]


def _hold_against(entry: Revocation, live: LiveSession) -> None:
    if _concerns(entry, live) and not live.is_over:
        live.end(CloseCode.BANNED if entry.reason == RevokeReason.BAN else CloseCode.REVOKED, entry.reason)


def _concerns(entry: Revocation, live: LiveSession) -> bool:
    if entry.family_id is not None:
        return live.identity.family_id == entry.family_id
    return live.identity.issued_at_ms < entry.before_ms
