"""What a pool's owner makes of events and of the answers to its claims, in the orders in which they may come."""

import tracemalloc

from base.ids import NodeId, UserId
from base.policy import Gender, IntentPolicy
from matchmaker.bitsets import BitsetIndex
from matchmaker.pairing import Pair
from matchmaker.ports import Arrived, Departed, Paused
from matchmaker.room import WaitingRoom
from matchmaker.scoring import rules_of
from matchmaker.ticket import Ticket
from tests.unit.matchmaker.people import ticket_of, wanting

POLICY = IntentPolicy(widen_after_s=(0, 10, 20, 40), widen_age_years=(0, 3, 6, 100))
RULES = rules_of(POLICY)
ANN, BOB = ticket_of("ann", queued_at=1), ticket_of("bob", queued_at=2)
BOTH = Pair(ANN, BOB)
NOW = 1_000


def room_with(*tickets: Ticket) -> WaitingRoom:
    """A room that heard of the tickets, as events 1, 2, ..."""
    room = WaitingRoom(POLICY, RULES, BitsetIndex(RULES.tiers))
    for number, ticket in enumerate(tickets, start=1):
        room.hear(number, Arrived(ticket, NOW), NOW)
    return room


def waiting(room: WaitingRoom) -> int:
    return sum(room.waiting().values())


def test_two_who_fit_are_paired_when_the_second_arrives() -> None:
    """Who waited longer is seat a; until the claim is answered both still count as waiting."""
    room = room_with(ANN)

    assert room.hear(2, Arrived(BOB, NOW), NOW) == BOTH
    assert waiting(room) == 2


def test_a_claim_takes_both_out() -> None:
    """An answered claim is a match; nothing of it is left in the room."""
    room = room_with(ANN, BOB)

    assert room.claimed(BOTH, frozenset(), 2, NOW) == []
    assert waiting(room) == 0
    assert room.on_nodes_but(set()) == {}


def test_the_survivor_of_a_refused_claim_is_tried_again_at_its_place() -> None:
    """Bob had left: Ann, who came first, meets Eve, who came last."""
    eve = ticket_of("eve", queued_at=3)
    room = room_with(ANN, BOB, eve)

    assert room.claimed(BOTH, frozenset({"b"}), 3, NOW) == [Pair(ANN, eve)]
    assert waiting(room) == 2


def test_a_ticket_that_left_while_it_was_claimed_is_gone() -> None:
    """The event was heard first, the refusal after it."""
    room = room_with(ANN, BOB)
    room.hear(3, Departed(BOB.ticket_id), NOW)
    room.claimed(BOTH, frozenset({"b"}), 3, NOW)

    assert waiting(room) == 1


def test_a_ticket_that_paused_while_it_was_claimed_is_paused() -> None:
    """It neither waits nor is forgotten."""
    room = room_with(ANN, BOB)
    room.hear(3, Paused(BOB.ticket_id, NOW), NOW)
    room.claimed(BOTH, frozenset({"b"}), 3, NOW)

    assert waiting(room) == 1
    assert room.paused_since(NOW) == [BOB.ticket_id]


def test_what_was_heard_before_the_claim_is_over_by_it() -> None:
    """Bob blinked, was claimed all the same, and must not seem to wait."""
    room = room_with(ANN, BOB)
    room.hear(3, Paused(BOB.ticket_id, NOW), NOW)
    room.hear(4, Arrived(BOB, NOW), NOW)
    room.claimed(BOTH, frozenset(), 4, NOW)

    assert waiting(room) == 0


def test_what_is_heard_late_of_the_time_before_the_claim_is_over_by_it() -> None:
    """The same, with the answer overtaking the events."""
    room = room_with(ANN, BOB)
    room.claimed(BOTH, frozenset(), 4, NOW)
    room.hear(3, Paused(BOB.ticket_id, NOW), NOW)
    room.hear(4, Arrived(BOB, NOW), NOW)

    assert waiting(room) == 0
    assert room.paused_since(NOW) == []


def test_a_return_that_overtakes_the_answer_counts() -> None:
    """Bob's call failed and he waits again before the worker knows that he was claimed."""
    room = room_with(ANN, BOB)
    room.hear(3, Arrived(BOB, NOW), NOW)
    room.claimed(BOTH, frozenset(), 2, NOW)

    assert room.waiting()[Gender.OTHER] == 1


def test_a_second_claim_is_remembered_when_the_first_is_forgotten() -> None:
    """Both came back before the first answer, and were claimed again: what is heard of before that is over."""
    room = room_with(ANN, BOB)
    room.hear(3, Arrived(BOB, NOW), NOW)
    room.hear(4, Arrived(ANN, NOW), NOW)
    again = room.claimed(BOTH, frozenset(), 2, NOW)
    assert again == [BOTH]
    room.claimed(BOTH, frozenset(), 6, NOW)
    room.hear(5, Paused(BOB.ticket_id, NOW), NOW)
    room.hear(6, Arrived(BOB, NOW), NOW)

    assert waiting(room) == 0


def test_wishes_widen_when_their_time_comes() -> None:
    """Ann, 30, wants 35 or more: at 20 s six years less will do, which Bob's 30 is."""
    ann = ticket_of("ann", wants=wanting(age_min=35))
    room = room_with(ann, BOB)

    assert room.widen(9_999, 8) == []
    assert room.widen(10_000, 8) == []
    assert room.widen(20_000, 8) == [Pair(ann, BOB)]


def test_widening_does_some_at_a_time() -> None:
    """A crowd whose time comes at once does not hold everything else up."""
    crowd = [ticket_of(f"user-{n}", wants=wanting(sides=frozenset({Gender.MALE}))) for n in range(5)]
    room = room_with(*crowd)
    room.widen(10_000, 3)
    assert room.is_behind()

    room.widen(10_000, 3)
    assert not room.is_behind()


def test_a_ticket_that_arrives_again_is_the_new_one() -> None:
    """Its wishes, exclusions and node are those it was put with last."""
    room = room_with(ticket_of("ann", exclusions=frozenset({UserId("bob")})), BOB)
    moved = ticket_of("ann", node_id=NodeId("node-2"), exclusions=frozenset({UserId("bob")}))
    room.hear(3, Arrived(moved, NOW), NOW)

    assert waiting(room) == 2
    assert room.on_nodes_but({NodeId("node-1")}) == {"node-2": [moved.ticket_id]}


def test_the_best_of_those_who_wait_longest_is_chosen() -> None:
    """Within the patience of the widening a better fit may pass over a slightly older ticket."""
    strict = wanting(sides=frozenset({Gender.FEMALE}))
    plain = ticket_of("old", age=60, queued_at=0, wants=strict)
    alike = ticket_of("new", age=30, queued_at=100, wants=strict)
    ann = ticket_of("ann", side=Gender.FEMALE, age=30, queued_at=200)
    room = room_with(plain, alike)

    assert room.hear(3, Arrived(ann, 300), 300) == Pair(alike, ann)


def test_beyond_the_patience_it_is_first_come_first_served() -> None:
    """The same people, when the first has waited through all widening."""
    strict = wanting(sides=frozenset({Gender.FEMALE}))
    plain = ticket_of("old", age=60, queued_at=0, wants=strict)
    alike = ticket_of("new", age=30, queued_at=39_000, wants=strict)
    ann = ticket_of("ann", side=Gender.FEMALE, age=30, queued_at=40_000)
    room = room_with(plain, alike)

    assert room.hear(3, Arrived(ann, 40_000), 40_000) == Pair(plain, ann)


def test_only_the_sixteen_longest_waiting_compete() -> None:
    """The best fit of all is the seventeenth, so it waits."""
    strict = wanting(sides=frozenset({Gender.FEMALE}))
    crowd = [ticket_of(f"user-{n:02}", age=60, queued_at=n, wants=strict) for n in range(16)]
    best = ticket_of("best", age=30, queued_at=16, verified=True, wants=strict)
    room = room_with(*crowd, best)
    found = room.hear(20, Arrived(ticket_of("ann", side=Gender.FEMALE, age=30, queued_at=17), 20), 20)

    assert found is not None
    assert found.a in crowd


def test_who_was_passed_over_gets_credit_for_it() -> None:
    """Bob fits less well than each newcomer, but not for ever: no arithmetic of ages keeps him waiting."""
    strict = wanting(sides=frozenset({Gender.FEMALE}))
    room = room_with(ticket_of("bob", age=50, queued_at=0, wants=strict))
    served = []
    for number in range(1, 10):
        better = ticket_of(f"better-{number}", age=30, queued_at=number, wants=strict)
        room.hear(10 * number, Arrived(better, number), number)
        her = ticket_of(f"her-{number}", age=30, side=Gender.FEMALE, queued_at=number)
        found = room.hear(10 * number + 1, Arrived(her, number), number)
        assert found is not None
        served.append(found.a.user_id)
        room.claimed(found, frozenset(), 10 * number + 1, number)

    assert served[0] == "better-1"
    assert "bob" in served


def test_credit_survives_a_claim_that_was_refused() -> None:
    """Bob was passed over seven times, and his match then failed: he is as far as before."""
    strict = wanting(sides=frozenset({Gender.FEMALE}))
    bob = ticket_of("bob", age=50, queued_at=0, wants=strict)
    room = room_with()
    room.hear(1, Arrived(bob, 0), 0)
    her = ticket_of("her", age=30, side=Gender.FEMALE, queued_at=1)
    found = room.hear(2, Arrived(her, 1), 1)
    assert found == Pair(bob, her)
    worn = Pair(found.a, found.b, passed=(7, 0))
    room.claimed(found, frozenset({"b"}), 2, 1)
    room.hear(3, Departed(bob.ticket_id), 1)

    assert worn == found


def test_those_who_said_how_long_they_wait_are_told_of_once() -> None:
    """When it is over, and only if they still wait."""
    room = room_with(ticket_of("ann", leaves_at=5_000, wants=wanting(age_min=90)))

    assert room.departing(4_999) == []
    assert [ticket.user_id for ticket in room.departing(5_000)] == ["ann"]
    assert room.departing(6_000) == []


def test_who_stayed_on_is_not_let_go_for_what_was_said_before() -> None:
    """Ann joined again without an end to her patience."""
    room = room_with(ticket_of("ann", leaves_at=5_000))
    room.hear(2, Arrived(ticket_of("ann"), NOW), NOW)

    assert room.departing(9_000) == []


def test_a_longer_patience_takes_the_place_of_a_shorter_one_and_the_other_way_round() -> None:
    """Joining again says anew for how long; each time it is what was said last that counts."""
    room = room_with(
        ticket_of("ann", leaves_at=5_000), ticket_of("eve", leaves_at=9_000, wants=wanting(age_min=90))
    )
    alone = wanting(age_min=90)
    room.hear(3, Arrived(ticket_of("ann", leaves_at=9_000, wants=alone), NOW), NOW)
    room.hear(4, Arrived(ticket_of("eve", leaves_at=5_000, wants=alone), NOW), NOW)

    assert [ticket.user_id for ticket in room.departing(5_000)] == ["eve"]
    assert [ticket.user_id for ticket in room.departing(9_000)] == ["ann"]
    assert room.departing(20_000) == []


def test_whoever_comes_and_goes_again_and_again_takes_no_more_room_for_it() -> None:
    """Away and back twenty times a second, for a quarter of an hour: one alarm a ticket is kept, not one a return."""
    ann = ticket_of("ann", leaves_at=3_600_000, queued_at=0)
    room = room_with(ann)
    tracemalloc.start()
    try:
        for number in range(20_000):
            room.hear(2 * number + 2, Paused(ann.ticket_id, NOW), NOW)
            room.hear(2 * number + 3, Arrived(ann, NOW), NOW)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert grown < 50_000
    assert [ticket.user_id for ticket in room.departing(3_600_000)] == ["ann"]


def test_wishes_of_somebody_who_was_away_when_their_time_came_widen_on_return() -> None:
    """Ann, 30, wants 35 or more; she is away at 10 s and back at 12: at 20 s six years less will do."""
    ann = ticket_of("ann", wants=wanting(age_min=35))
    room = room_with(ann, BOB)
    room.hear(3, Paused(ann.ticket_id, 5_000), 5_000)
    room.widen(10_000, 8)
    room.hear(4, Arrived(ann, 12_000), 12_000)

    assert room.widen(19_999, 8) == []
    assert room.widen(20_000, 8) == [Pair(ann, BOB)]


def test_priority_is_a_head_start_of_so_many_seconds() -> None:
    """Beyond the longest wait it is whose turn it is: Vic came 3 s after Bob, with 5 s ahead."""
    strict = wanting(sides=frozenset({Gender.FEMALE}))
    bob = ticket_of("bob", queued_at=0, wants=strict)
    vic = ticket_of("vic", queued_at=3_000, ahead_ms=5_000, wants=strict)
    room = room_with(bob, vic)
    her = ticket_of("her", side=Gender.FEMALE, queued_at=50_000)
    found = room.hear(3, Arrived(her, 50_000), 50_000)

    assert found == Pair(vic, her)


def test_a_near_partner_is_found_behind_many_far_ones() -> None:
    """Where the policy knows distances, the near ones compete too, however many wait before them."""
    policy = IntentPolicy(round_trip_ms={"eu": {"asia": 240}})
    rules = rules_of(policy)
    strict = wanting(sides=frozenset({Gender.FEMALE}))
    room = WaitingRoom(policy, rules, BitsetIndex(rules.tiers))
    for number in range(40):
        far = ticket_of(f"far-{number}", region="asia", queued_at=number, wants=strict)
        room.hear(number, Arrived(far, 0), 100)
    room.hear(50, Arrived(ticket_of("near", region="eu", queued_at=99, wants=strict), 0), 100)
    found = room.hear(51, Arrived(ticket_of("her", side=Gender.FEMALE, region="eu", queued_at=100), 0), 100)

    assert found is not None
    assert found.a.user_id == "near"


def test_a_sample_says_why_people_do_not_meet() -> None:
    """By rule, told once."""
    room = room_with()
    for number in range(64):
        him = ticket_of(f"user-{number}", age=30, queued_at=number, wants=wanting(age_min=80))
        room.hear(number, Arrived(him, 0), 0)
    told = room.rejections()

    assert set(told) == {"age"}
    assert told.total() == 16
    assert room.rejections().total() == 0
