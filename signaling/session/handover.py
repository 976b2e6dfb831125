"""One session on its way from node to node, as one of the nodes sees it.

A session has one row in the store, which names its node and a generation. Who wants the session compares and sets the
row first, to itself and the next generation, and asks then; so of any two who want it, one has the higher generation, and
that one gets it. The node that had it lets its commands come to an end, gives all there is of it in pieces, each asked
for, and for a while sends on what still arrives for it. Who waits for a session holds what arrives for it until it is
there; who is asked for a session that it waits for itself passes it on.

Decides who gets the session, and what becomes of what arrives meanwhile. Refuses to know what a session is made of, how
rows are kept, and how frames travel: at most once, in order from one node to another, and perhaps not at all.
"""

from typing import Final

from base.ids import NodeId, SessionId
from signaling.node_frames import (
    SessionForwarded,
    SessionGone,
    SessionState,
    SessionTaken,
    SessionWanted,
)
from signaling.session.crossing_effects import Effect, Freeze, Give, GiveUp, Land, Refusal, Send
from signaling.session.crossing_states import Given, Giving, Missed, State, Taking

PATIENCE_MS: Final = 1_000
"""For each answer of the node that has the session."""
QUIET_MS: Final = 500
"""How long commands may go on that run when the session is asked for."""
LOOK_MS: Final = 10
"""How often it is looked whether they still do."""
FORWARDED_MS: Final = 60_000
PIECES_KEPT_MS: Final = 10_000
PIECE_BYTES: Final = 32 * 1024
HELD_FRAMES: Final = 256
HELD_BYTES: Final = 256 * 1024
MOST_HOPS: Final = 4


class Crossing:
    """What one node has to do with one session's moves. Times are monotonic milliseconds."""

    __slots__ = ("_node_id", "_state", "session_id")

    def __init__(self, session_id: SessionId, node_id: NodeId) -> None:
        self.session_id = session_id
        self._node_id = node_id
        self._state: State | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether the session is to come here."""
        return isinstance(self._state, Taking)

    @property
    def is_leaving(self) -> bool:
        """Whether the session is still here and about to go."""
        return isinstance(self._state, Giving)

    @property
    def went_to(self) -> NodeId | None:
        """Where the session went from here."""
        return self._state.node_id if isinstance(self._state, Given) else None

    @property
    def catches(self) -> bool:
        """Whether what arrives for the session is held or sent on."""
        return isinstance(self._state, Taking | Given | Missed)

    @property
    def look_at(self) -> int | None:
        """When `look` wants to be asked; None: never, nothing is left of the crossing."""
        match self._state:
            case Taking(asked_at=asked_at):
                return asked_at + PATIENCE_MS
            case Giving():
                return 0
            case Given(at=at, pieces=pieces):
                return at + (PIECES_KEPT_MS if pieces else FORWARDED_MS)
            case Missed(at=at):
                return at + FORWARDED_MS
            case None:
                return None

    # Who wants the session.

    def claimed(self, generation: int, holder: NodeId, now_ms: int) -> list[Effect]:
        """The row is ours under `generation`; until now it named `holder`."""
        state = self._state
        if isinstance(state, Taking):
            # The client came again before its session did: one answer serves, whoever waits for it now.
            state.generation = max(state.generation, generation)
            if holder != self._node_id:
                # Unless the session went on, or back, before it could come here.
                state.next_holder = holder
            other, state.goes_on = state.goes_on, None
            return [] if other is None else [self._refuse(other, Refusal.NEWER)]
        self._state = Taking(generation, generation, holder, now_ms)
        return [self._ask(self._state, now_ms)]

    def kept(self, generation: int) -> list[Effect]:
        """The client is back where its session still is, and the row is ours again."""
        state = self._state
        if not isinstance(state, Giving) or state.wanted.generation >= generation:
            return []
        self._state = None
        return [self._refuse(state.wanted, Refusal.NEWER)]

    def piece(self, frame: SessionState, now_ms: int) -> list[Effect]:
        """A part of the session arrives; what nobody asked for is passed over."""
        state = self._state
        if not isinstance(state, Taking) or frame.generation != state.asked:
            return []
        if frame.part != len(state.pieces) or frame.part >= frame.parts:
            return []
        state.pieces.append(frame.piece)
        if len(state.pieces) < frame.parts:
            return [self._ask(state, now_ms)]
        if state.goes_on is not None:
            if not state.is_whole:
                return self._give_up(state, Refusal.GONE, now_ms)
            wanted, pieces = state.goes_on, tuple(state.pieces)
            self._state = Given(NodeId(wanted.node_id), wanted.generation, now_ms, pieces)
            return [self._piece(wanted, pieces), *self._send_on(NodeId(wanted.node_id), state)]
        self._state = None
        held = tuple(state.held)
        return [Land(state.generation, b"".join(state.pieces), held, complete=state.is_whole)]

    def refused(self, frame: SessionGone, now_ms: int) -> list[Effect]:
        """The node that was asked does not give the session."""
        state = self._state
        if not isinstance(state, Taking) or frame.generation != state.asked:
            return []
        known = frame.reason in Refusal.__members__.values()
        return self._refused(state, Refusal(frame.reason) if known else Refusal.GONE, now_ms)

    def taken(self, generation: int) -> list[Effect]:
        """The device has begun another session elsewhere: this one is of no use to anybody.

        `generation` is of the row that stands now; 0 where the node that says so does not tell it.
        """
        state = self._state
        match state:
            case Taking() if generation and state.generation >= generation:
                return []
            case Taking():
                self._state = None
                effects: list[Effect] = [self._dismiss(state)]
                if state.goes_on is not None:
                    effects.append(self._refuse(state.goes_on, Refusal.SUPERSEDED))
                return [*effects, GiveUp(Refusal.SUPERSEDED)]
            case Giving():
                self._state = None
                return [self._refuse(state.wanted, Refusal.SUPERSEDED)]
            case Given():
                return [Send(state.node_id, SessionTaken(self.session_id, generation))]
            case Missed() | None:
                return []

    # Who has the session.

    def wanted(self, frame: SessionWanted, now_ms: int, here: int | None) -> list[Effect]:
        """Another node claims the session, which is `here` under that generation, or not at all."""
        state = self._state
        match state:
            case Taking():
                if frame.generation <= state.generation:
                    return [self._refuse(frame, Refusal.NEWER)]
                return self._pass_on(state, frame)
            case Giving():
                return self._give_to(state, frame)
            case Given():
                return self._answer_again(state, frame)
            case Missed() | None if here is None:
                return [self._refuse(frame, Refusal.GONE)]
            case Missed() | None if here >= frame.generation:
                return [self._refuse(frame, Refusal.NEWER)]
            case Missed() | None:
                self._state = Giving(frame, now_ms)
                return [Freeze()]

    def given(self, state: bytes, now_ms: int) -> list[Effect]:
        """The session is out of this node, and this is all there is of it."""
        giving = self._state
        if not isinstance(giving, Giving):
            raise ValueError("nobody wants this session")
        wanted = giving.wanted
        pieces = tuple(state[at : at + PIECE_BYTES] for at in range(0, len(state), PIECE_BYTES))
        self._state = Given(NodeId(wanted.node_id), wanted.generation, now_ms, pieces)
        return [self._piece(wanted, pieces)]

    def ended(self) -> list[Effect]:
        """The session that was to be given is over."""
        giving = self._state
        if not isinstance(giving, Giving):
            return []
        self._state = None
        return [self._refuse(giving.wanted, Refusal.GONE)]

    # What arrives meanwhile.

    def caught(self, payload: bytes, hops: int = 0) -> list[Effect]:
        """An encoded frame that concerns the session arrives here; see `catches`."""
        match self._state:
            case Taking() as taking:
                if len(taking.held) >= HELD_FRAMES or taking.held_bytes + len(payload) > HELD_BYTES:
                    taking.is_whole = False
                else:
                    taking.held.append(payload)
                    taking.held_bytes += len(payload)
                return []
            case Given(node_id=node_id) | Missed(node_id=node_id) if hops < MOST_HOPS:
                return [Send(node_id, SessionForwarded(self.session_id, payload, hops + 1))]
            case _:
                return []

    # Time.

    def look(self, now_ms: int, *, busy: bool) -> list[Effect]:
        """What is due; `busy` where commands of the session run here, or wait to."""
        state = self._state
        match state:
            case Taking() if now_ms - state.asked_at >= PATIENCE_MS:
                # Whatever it was that kept the other node: it is not to go on with the session.
                return [self._dismiss(state), *self._refused(state, Refusal.NO_ANSWER, now_ms)]
            case Giving() if not busy:
                return [Give()]
            case Giving() if now_ms - state.since >= QUIET_MS:
                self._state = None
                return [self._refuse(state.wanted, Refusal.BUSY)]
            case Given() | Missed() if now_ms - state.at >= FORWARDED_MS:
                self._state = None
            case Given() if now_ms - state.at >= PIECES_KEPT_MS:
                state.pieces = ()
            case _:
                pass
        return []

    # How it goes on inside.

    def _ask(self, state: Taking, now_ms: int) -> Send:
        state.asked_at = now_ms
        wanted = SessionWanted(self.session_id, state.asked, self._node_id, len(state.pieces))
        return Send(state.holder, wanted)

    def _dismiss(self, state: Taking) -> Send:
        return Send(state.holder, SessionTaken(self.session_id, state.asked))

    def _refuse(self, wanted: SessionWanted, reason: Refusal) -> Send:
        return Send(NodeId(wanted.node_id), SessionGone(self.session_id, wanted.generation, reason))

    def _piece(self, wanted: SessionWanted, pieces: tuple[bytes, ...]) -> Send:
        if wanted.part >= len(pieces):
            return self._refuse(wanted, Refusal.GONE)
        piece = SessionState(
            self.session_id, wanted.generation, wanted.part, len(pieces), pieces[wanted.part]
        )
        return Send(NodeId(wanted.node_id), piece)

    def _refused(self, state: Taking, reason: Refusal, now_ms: int) -> list[Effect]:
        if state.next_holder is None:
            return self._give_up(state, reason, now_ms)
        # Who is newer has the session, or knows who has, and is to have what arrived here for it.
        late = self._send_on(state.holder, state) if reason is Refusal.NEWER else []
        state.holder, state.next_holder = state.next_holder, None
        state.asked = state.generation
        state.pieces.clear()
        return [*late, self._ask(state, now_ms)]

    def _give_up(self, state: Taking, reason: Refusal, now_ms: int) -> list[Effect]:
        self._state = None
        if reason is Refusal.BUSY:
            # Its client begins anew here: nobody is to come back to what is there.
            return [self._dismiss(state), *self._tell_given_up(state, reason)]
        late: list[Send] = []
        if reason is Refusal.NEWER:
            # As above; and what still arrives for it goes there, too.
            self._state = Missed(state.holder, now_ms)
            late = self._send_on(state.holder, state)
        return [*late, *self._tell_given_up(state, reason)]

    def _tell_given_up(self, state: Taking, reason: Refusal) -> list[Effect]:
        if state.goes_on is None:
            return [GiveUp(reason)]
        return [self._refuse(state.goes_on, reason), GiveUp(Refusal.NEWER)]

    def _pass_on(self, state: Taking, frame: SessionWanted) -> list[Effect]:
        before, state.goes_on = state.goes_on, frame
        state.generation = frame.generation
        told = [] if before is None else [self._refuse(before, Refusal.NEWER)]
        return [*told, GiveUp(Refusal.NEWER)]

    def _give_to(self, state: Giving, frame: SessionWanted) -> list[Effect]:
        if frame.generation == state.wanted.generation:
            return []
        if frame.generation < state.wanted.generation:
            return [self._refuse(frame, Refusal.NEWER)]
        before, state.wanted = state.wanted, frame
        return [self._refuse(before, Refusal.NEWER)]

    def _answer_again(self, state: Given, frame: SessionWanted) -> list[Effect]:
        if frame.generation == state.generation:
            return [self._piece(frame, state.pieces)]
        if frame.generation < state.generation:
            return [self._refuse(frame, Refusal.NEWER)]
        # Who asks read the row before it named the next node.
        return [Send(state.node_id, frame)]

    def _send_on(self, node_id: NodeId, state: Taking) -> list[Send]:
        held = [Send(node_id, SessionForwarded(self.session_id, payload, 1)) for payload in state.held]
        state.held.clear()
        state.held_bytes = 0
        return held
