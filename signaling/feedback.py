"""What a participant thought of a call: who may say it, and when.

Decides that only the two people of a call may rate it, once it is over for them, and that the last word counts. It has
no effect on the other person: nothing matches, shows or counts by it. Refuses to know how it is kept.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from base.clock import ServerClock
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import CallId, UserId
from signaling.call.record import Call
from signaling.call.states import Seat, State

NOTE_LENGTH: Final = 1_000


class FeedbackTag(StrEnum):
    """The closed list of what people can say beside a number."""

    FRIENDLY = "friendly"
    INTERESTING = "interesting"
    FUNNY = "funny"
    RESPECTFUL = "respectful"
    NOT_MY_MATCH = "not_my_match"
    QUIET = "quiet"
    RUDE = "rude"
    UNCOMFORTABLE = "uncomfortable"
    BAD_SOUND = "bad_sound"
    BAD_PICTURE = "bad_picture"
    BROKE_OFF = "broke_off"


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said of one call; `given_at` is when they first did, Unix ms."""

    rating: int
    tags: tuple[str, ...]
    note: str | None
    given_at: int


class FeedbackStore(Protocol):
    """Where feedback is kept; both raise Unavailable."""

    async def put(self, call_id: CallId, user_id: UserId, feedback: Feedback) -> Feedback | None:
        """Keeps it in place of an earlier one, whose `given_at` stays. None: there is no such user any more."""
        ...

    async def took_part(self, call_id: CallId, user_id: UserId) -> bool:
        """Whether history has the call, with this user in it."""
        ...


class Participants(Protocol):
    """Calls under way, and those that ended a while ago."""

    async def participant(self, call_id: CallId, user_id: UserId) -> tuple[Call, Seat]:
        """The call as it stands, ended or not, and where the user sits. Raises: MinuetError `not_a_participant`."""
        ...


class Feedbacks:
    """Takes feedback."""

    def __init__(self, participants: Participants, store: FeedbackStore, clock: ServerClock) -> None:
        self._participants = participants
        self._store = store
        self._clock = clock

    async def give(
        self, call_id: CallId, user_id: UserId, rating: int, tags: Iterable[FeedbackTag], note: str | None
    ) -> Feedback:
        """Keeps what a participant thought; again: replaces it.

        Raises: MinuetError `not_a_participant`, or `bad_state` while the call goes on for them; Unavailable.
        """
        await self._refuse_others(call_id, user_id)
        said = Feedback(
            rating=rating, tags=tuple(dict.fromkeys(tags)), note=note, given_at=self._clock.now_ms()
        )
        kept = await self._store.put(call_id, user_id, said)
        if kept is None:
            raise MinuetError(code=ErrorCode.NOT_A_PARTICIPANT)
        return kept

    async def _refuse_others(self, call_id: CallId, user_id: UserId) -> None:
        try:
            call, seat = await self._participants.participant(call_id, user_id)
        except Unavailable:
            raise
        except MinuetError:
            # Its record is gone, days after the call; or never was. History knows.
            if not await self._store.took_part(call_id, user_id):
                raise
            return
        if call.state is not State.ENDED and not call.seat(seat).freed:
            raise MinuetError("The call is not over yet.", code=ErrorCode.BAD_STATE)
