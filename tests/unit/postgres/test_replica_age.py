"""How old what a replica shows can be."""

from hypothesis import given
from hypothesis import strategies as st

from storage.postgres.lag import ReplicaAge


def test_nothing_is_known_before_both_were_asked() -> None:
    """A replica that nobody has compared with anything is not trusted."""
    age = ReplicaAge()
    age.replica_replayed(100)
    assert age.age_ms(0) is None

    age.primary_wrote(200, 0)
    age.replica_replayed(100)
    assert age.age_ms(5) is None


def test_a_replica_that_follows_is_as_old_as_the_last_look() -> None:
    """Also where nothing is written: the position is the same, and was true when the primary was asked."""
    age = ReplicaAge()
    for second in range(10):
        age.primary_wrote(500, second * 1000)
        age.replica_replayed(500)

        assert age.age_ms(second * 1000 + 3) == 3


def test_a_replica_that_is_cut_off_grows_old_though_it_answers() -> None:
    """It says the same position again and again, and the primary goes on."""
    age = ReplicaAge()
    age.primary_wrote(500, 0)
    age.replica_replayed(500)
    for second in range(1, 10):
        age.primary_wrote(500 + second, second * 1000)
        age.replica_replayed(500)

    assert age.age_ms(9_500) == 9_500
    age.replica_replayed(507)
    assert age.age_ms(9_500) == 2_500


def test_another_primary_that_is_behind_the_old_one_voids_what_was_noted() -> None:
    """After a failover the old positions beyond the new primary's are never reached, or by other writes."""
    age = ReplicaAge()
    age.primary_wrote(900, 0)
    age.primary_wrote(700, 1000)
    age.replica_replayed(700)

    assert age.age_ms(1_500) == 500


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30))
def test_the_age_is_never_too_small(steps: list[tuple[int, int]]) -> None:
    """Whatever is written and replayed in which order: all that was written before that moment is there."""
    age = ReplicaAge()
    written, replayed, history = 0, 0, []
    for now, (wrote, caught_up) in enumerate(steps):
        written += wrote
        history.append((now, written))
        age.primary_wrote(written, now)
        replayed = min(written, replayed + caught_up)
        age.replica_replayed(replayed)
        known = age.age_ms(now)
        if known is not None:
            assert all(position <= replayed for at, position in history if at <= now - known)
