"""Who wants to know who is there: the watches of this node's sessions, and what they were told last.

Looks once a second at those who are watched and tells what is not as it was told. So nothing has to be remembered about
watchers elsewhere, and nothing is lost that a next look would not find. Whom a block keeps apart is in that look; whether
connections still stand is asked of the database every few seconds, for deletions that another node did not tell.

Both are bounded, whatever sessions watch: each person who is looked at costs this process some 10 us. Where there are more,
sessions have their turns, and changes are told later by a second for each `LOOKED_AT_MOST` watches.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from base.errors import Unavailable
from base.ids import ConnectionId, SessionId, UserId
from base.rounds import attempt
from chat.metrics import ChatMetrics
from chat.ports import Presence
from chat.rules import MAX_WATCHED, TooManyWatched
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.protocol.messages.chat import PresenceUpdate

LOOK_EVERY_S: Final = 1.0
LOOKED_AT_MOST: Final = 2_500
"""Watches of one look. A look at new ones comes beside that, and is bounded by what a session may watch."""
VERIFY_EVERY: Final = 5
"""Looks."""
VERIFIED_MOST: Final = 2_500
VERIFIED_AT_ONCE: Final = 500
VERIFY_TIMEOUT_S: Final = 0.5
"""How much later the next look may come because the database is slow."""


StillOpen = Callable[[Collection[ConnectionId]], Awaitable[set[ConnectionId]]]
"""Which of these connections have not ended. Raises Unavailable."""


class _Watch:
    """One connection that one session watches."""

    __slots__ = ("peer_id", "told")

    def __init__(self, peer_id: UserId) -> None:
        self.peer_id = peer_id
        self.told: bool | None = None
        """Whether `online` was told last; None: nothing was, or the client may not have got it."""


class Watches:
    """Watches of this node's sessions."""

    def __init__(self, hub: Hub, presence: Presence, still_open: StillOpen, metrics: ChatMetrics) -> None:
        self._hub = hub
        self._presence = presence
        self._still_open = still_open
        self._metrics = metrics
        self._of: dict[SessionId, dict[ConnectionId, _Watch]] = {}
        """In the order in which they have their turns."""
        self._unverified: list[ConnectionId] = []
        """What is left of the connections that were watched when the database was first asked, this time round."""

    def watch(self, live: LiveSession, peers: Mapping[ConnectionId, UserId]) -> list[ConnectionId]:
        """Adds what the session wants to watch; answers with all that it watches. Raises: TooManyWatched."""
        mine = self._of.get(live.id, {})
        if len(mine.keys() | peers.keys()) > MAX_WATCHED:
            raise TooManyWatched(f"a session watches at most {MAX_WATCHED} connections")
        mine = {**mine, **{one: _Watch(peer_id) for one, peer_id in peers.items()}}
        if mine:
            self._of[live.id] = mine
        return list(mine)

    def of(self, live: LiveSession) -> Mapping[ConnectionId, UserId]:
        """What the session watches."""
        return {one: watch.peer_id for one, watch in self._of.get(live.id, {}).items()}

    def unwatch(self, live: LiveSession, connection_ids: Collection[str] | None) -> list[ConnectionId]:
        """Forgets these, or all; answers with what is left."""
        mine = self._of.get(live.id, {})
        gone = mine.keys() if connection_ids is None else set(connection_ids)
        left = {one: watch for one, watch in mine.items() if one not in gone}
        if left:
            self._of[live.id] = left
        else:
            self._of.pop(live.id, None)
        return list(left)

    def end(self, connection_id: ConnectionId) -> None:
        """Nobody here learns any more of who is behind a connection; they are left with `offline`."""
        for session_id in [one for one, mine in self._of.items() if connection_id in mine]:
            self._drop(session_id, connection_id)

    async def run(self) -> None:
        """Looks until cancelled."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            await attempt(self.look, "presence could not be looked at")
            if looks % VERIFY_EVERY == 0:
                await attempt(self.verify, "ends of connections could not be looked at")

    async def look(self, live: LiveSession | None = None) -> None:
        """Tells what has changed to one session, or to those whose turn it is. Raises: Unavailable."""
        self._tidy()
        mine = [live] if live is not None else [one for one in map(self._hub.session, self._turn()) if one]
        asked = {one.id: dict(self._of.get(one.id, {})) for one in mine}
        watched: dict[UserId, set[UserId]] = defaultdict(set)
        for one in mine:
            watched[one.user_id].update(watch.peer_id for watch in asked[one.id].values())
        watched = {user_id: peers for user_id, peers in watched.items() if peers}
        if not watched:
            return
        apart = await self._presence.apart(watched)
        online = await self._presence.online(set().union(*watched.values()))
        for one in mine:
            self._tell(one, asked[one.id], online, apart)

    # How it goes on inside.

    def _turn(self) -> list[SessionId]:
        """As many sessions as a look bears, at least one; they come last the next time."""
        turn: list[SessionId] = []
        watched = 0
        for session_id, mine in self._of.items():
            watched += len(mine)
            if turn and watched > LOOKED_AT_MOST:
                break
            turn.append(session_id)
        for session_id in turn:
            self._of[session_id] = self._of.pop(session_id)
        return turn

    def _tell(
        self,
        live: LiveSession,
        asked: Mapping[ConnectionId, _Watch],
        online: set[UserId],
        apart: set[tuple[UserId, UserId]],
    ) -> None:
        for connection_id, watch in asked.items():
            if self._of.get(live.id, {}).get(connection_id) is not watch:
                # Ended meanwhile, or begun anew, with a look of its own. One begun meanwhile is not in here at all: that
                # nobody asked for its person does not mean that they are away.
                continue
            if (live.user_id, watch.peer_id) in apart:
                self._drop(live.id, connection_id)
            elif not live.is_attached:
                # It will not get this: told again when it is back.
                watch.told = None
            elif watch.told is not (watch.peer_id in online):
                watch.told = watch.peer_id in online
                _push(live, connection_id, online=watch.told)

    def _drop(self, session_id: SessionId, connection_id: ConnectionId) -> None:
        mine = self._of.get(session_id, {})
        watch = mine.pop(connection_id, None)
        if not mine:
            self._of.pop(session_id, None)
        live = self._hub.session(session_id)
        if watch is not None and live is not None and watch.told is not False:
            _push(live, connection_id, online=False)

    def _tidy(self) -> None:
        for session_id in [one for one in self._of if self._hub.session(one) is None]:
            del self._of[session_id]
        self._metrics.watched.set(sum(map(len, self._of.values())))

    async def verify(self) -> None:
        """Forgets what has ended and was not told, of some that have their turn. Raises: Unavailable."""
        if not self._unverified:
            self._unverified = list({one for mine in self._of.values() for one in mine})
        turn = self._unverified[:VERIFIED_MOST]
        try:
            async with asyncio.timeout(VERIFY_TIMEOUT_S):
                for start in range(0, len(turn), VERIFIED_AT_ONCE):
                    share = turn[start : start + VERIFIED_AT_ONCE]
                    for gone in set(share) - await self._still_open(share):
                        self.end(gone)
                    # Only now: those that were not asked for are the first of the next time.
                    del self._unverified[: len(share)]
        except TimeoutError as error:
            raise Unavailable from error


def _push(live: LiveSession, connection_id: ConnectionId, *, online: bool) -> None:
    live.push(PresenceUpdate(connection_id=connection_id, presence="online" if online else "offline"))
