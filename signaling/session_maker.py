"""How sessions are made: fresh ones, and those that go on with what they were elsewhere.

Decides nothing but what they are made of.
"""

from random import Random

from accounts.model import Identity
from base.ids import DeviceId, IdFactory, SessionId
from presence.sessions import SessionRow
from signaling.greeting import Greeting
from signaling.live_session import LiveSession
from signaling.moved import MovedSession
from signaling.protocol.codec import CODECS, Codec
from signaling.session.heartbeat import IDLE_BEAT
from signaling.session.session import Session
from signaling.session_shell import SessionShell


class SessionMaker:
    """Makes the sessions of one node."""

    def __init__(self, shell: SessionShell, ids: IdFactory, random: Random) -> None:
        self._shell = shell
        self._ids = ids
        self._random = random

    def begun(self, greeting: Greeting) -> Session:
        """A session that speaks as its greeting did; nobody's yet."""
        session = self._session(SessionId(self._ids.new()), greeting.codec)
        session.last_id = greeting.request_id or 0
        return session

    def live(self, session: Session, identity: Identity, device_id: DeviceId, generation: int) -> LiveSession:
        """The session as a device's, under the generation of its row."""
        return LiveSession(self._shell, session, identity, device_id, generation)

    def moved(self, moved: MovedSession, identity: Identity, generation: int) -> LiveSession:
        """What came from another node, as it was there."""
        session = self._session(SessionId(moved.session_id), CODECS[moved.session.subprotocol])
        live = self.live(session, identity, moved.device_id, generation)
        live.go_on(moved)
        return live

    def remains(self, row: SessionRow, identity: Identity, codec: Codec) -> LiveSession:
        """What can be said of a session that is nowhere but in its row."""
        return self.live(self._session(row.session_id, codec), identity, row.device_id, row.generation)

    def head_start_ms(self) -> int:
        """By how much a session's first ping comes early: else those who came together would be asked together."""
        return self._random.randrange(IDLE_BEAT.silence_ms)

    def _session(self, session_id: SessionId, codec: Codec) -> Session:
        return Session(session_id, codec, self._shell.limits, self._shell.clock.monotonic_ms())
