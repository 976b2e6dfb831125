"""What a supervisor makes of deaths, and who minds the doors of the dead."""

from hypothesis import given
from hypothesis import strategies as st

from minuet.supervisor.policy import (
    BAD_SETUP,
    GAVE_UP,
    GIVE_UP_AFTER,
    HOPELESS_AFTER_MS,
    PAUSES_MS,
    SETTLED_MS,
    SILENT_AFTER_MS,
    Deaths,
    GiveUp,
    Silence,
    StartAgain,
    door_minders,
)

KILLED = -9


def test_the_first_death_is_followed_by_a_start_at_once() -> None:
    """Whoever is out of the blue killed is missed for no longer than a start takes."""
    assert Deaths().died(served_ms=60_000, status=KILLED, others_serve=True) == StartAgain(0)


def test_pauses_grow_with_deaths_in_a_row_up_to_a_bound() -> None:
    """A worker that dies at its start is tried ever more seldom, and never given up as long as others serve."""
    deaths = Deaths()

    verdicts = [deaths.died(served_ms=None, status=1, others_serve=True) for _ in range(20)]

    pauses = [verdict.after_ms for verdict in verdicts if isinstance(verdict, StartAgain)]
    assert pauses[: len(PAUSES_MS)] == list(PAUSES_MS)
    assert len(pauses) == 20
    assert set(pauses[len(PAUSES_MS) :]) == {PAUSES_MS[-1]}


def test_who_served_for_a_while_starts_with_a_clean_slate() -> None:
    """Deaths count in a row only where the start itself may be to blame."""
    deaths = Deaths()
    for _ in range(4):
        deaths.died(served_ms=SETTLED_MS - 1, status=1, others_serve=True)

    verdict = deaths.died(served_ms=SETTLED_MS, status=1, others_serve=True)

    assert verdict == StartAgain(PAUSES_MS[0])


def test_a_start_that_was_asked_for_wipes_the_slate() -> None:
    """After a rolling restart what the old program did counts no more."""
    deaths = Deaths()
    deaths.died(served_ms=None, status=1, others_serve=True)
    deaths.settled()

    assert deaths.in_a_row == 0


def test_the_last_one_that_dies_again_and_again_is_given_up() -> None:
    """Where nobody serves, the orchestrator is to know that nothing works here."""
    deaths = Deaths()

    verdicts = [deaths.died(served_ms=5, status=1, others_serve=False) for _ in range(GIVE_UP_AFTER)]

    assert all(isinstance(verdict, StartAgain) for verdict in verdicts[:-1])
    assert isinstance(verdicts[-1], GiveUp)
    assert verdicts[-1].status == GAVE_UP


def test_what_cannot_start_as_it_is_set_up_is_given_up_at_once() -> None:
    """A wrong setting is told in one line and with its own exit status, not after a minute of tries."""
    verdict = Deaths().died(served_ms=None, status=BAD_SETUP, others_serve=False)

    assert isinstance(verdict, GiveUp)
    assert verdict.status == BAD_SETUP


def test_a_bad_setup_beside_serving_workers_is_tried_again() -> None:
    """Those who serve started with other settings, or a database that was there; they go on."""
    verdict = Deaths().died(served_ms=None, status=BAD_SETUP, others_serve=True)

    assert verdict == StartAgain(PAUSES_MS[0])


@given(
    st.sets(st.integers(0, 8)),
    st.sets(st.integers(100, 108)),
    st.dictionaries(st.integers(0, 8), st.integers(100, 108)),
)
def test_every_orphaned_door_has_one_living_minder(
    orphaned: set[int], serving: set[int], before: dict[int, int]
) -> None:
    """No door is without somebody while anybody serves, and who minds one already stays."""
    minders = door_minders(sorted(orphaned), sorted(serving), before)

    assert set(minders.values()) <= serving
    assert set(minders) == (orphaned if serving else set())
    assert all(minders[door] == before[door] for door in orphaned if before.get(door) in serving)


def test_doors_are_shared_out_evenly() -> None:
    """Half of the workers died: each of the others takes one of their doors."""
    minders = door_minders([0, 1, 2], [10, 11, 12], {})

    assert sorted(minders.values()) == [10, 11, 12]


def test_a_silence_grows_until_an_answer_ends_it() -> None:
    """Short ones mean nothing, long ones that others have to help out, and very long ones that it hangs."""
    silence = Silence(0)
    heard = []
    for now_ms in range(1_000, HOPELESS_AFTER_MS + 1_000, 1_000):
        silence.asked(now_ms, answered=False)
        heard.append((silence.is_long, silence.is_hopeless))
    silence.asked(HOPELESS_AFTER_MS + 1_000, answered=True)

    assert heard.index((True, False)) == SILENT_AFTER_MS // 1_000 - 1
    assert heard[-1] == (True, True)
    assert not silence.is_long


def test_a_supervisor_that_stood_still_blames_nobody() -> None:
    """Whoever was not asked cannot be reproached with not having answered."""
    silence = Silence(0)
    silence.asked(1_000, answered=True)

    silence.asked(1_000 + 2 * HOPELESS_AFTER_MS, answered=False)

    assert not silence.is_long
