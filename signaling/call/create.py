"""How a match becomes a call: who sits where, and who decides.

Refuses to know how the pair was found. The role follows from the intent's policy and the two genders alone.
"""

from base.policy import Control, Gender, IntentPolicy
from matchmaker.matches import Match, MatchedSeat
from signaling.call.record import Call, SeatRecord, recorded
from signaling.call.states import Role, Seat, State


def propose(match: Match, policy: IntentPolicy, now_ms: int) -> Call:
    """The call of a match, waiting for both to accept; seat `a` makes the first offer.

    Any node builds the same record from the same match and moment.
    """
    return Call(
        call_id=match.call_id,
        intent=match.intent,
        policy=recorded(policy),
        state=State.PROPOSED,
        created_at=now_ms,
        a=_seat(match, "a", policy.control),
        b=_seat(match, "b", policy.control),
        deadline_at=now_ms + round(policy.proposed_s * 1000),
    )


def role_of(seat: MatchedSeat, peer: MatchedSeat, control: Control) -> Role:
    """The role of one side of a pair: the only woman decides where the policy says so, else both do."""
    mine, theirs = seat.gender is Gender.FEMALE, peer.gender is Gender.FEMALE
    if control is Control.MUTUAL or mine == theirs:
        return Role.MUTUAL
    return Role.CONTROLLER if mine else Role.GUEST


def _seat(match: Match, seat: Seat, control: Control) -> SeatRecord:
    person = match.seat(seat)
    return SeatRecord(
        user_id=person.user_id,
        device_id=person.device_id,
        session_id=person.session_id,
        node_id=person.node_id,
        ticket_id=person.ticket_id,
        queued_at=person.queued_at,
        gender=person.gender,
        first_name=person.first_name,
        age=person.age,
        languages=person.languages,
        verified=person.verified,
        role=role_of(person, match.peer(seat), control),
    )
