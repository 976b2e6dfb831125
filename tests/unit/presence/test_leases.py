"""The lease as its holder judges it. Times are milliseconds of the monotonic clock."""

from hypothesis import given
from hypothesis import strategies as st

from presence.leases import RETRY_EVERY_MS, Lease
from presence.nodes import LEASE_TTL_MS, RENEW_EVERY_MS


def test_a_new_lease_is_not_held_and_is_asked_for_at_once() -> None:
    """Nobody acts before the store has agreed."""
    lease = Lease()

    assert not lease.is_held(5)
    assert lease.wait_ms(5) == 0
    assert lease.renewed_at is None
    assert lease.age_ms(5) is None


def test_a_renewed_lease_is_held_for_its_lifetime_from_when_it_was_asked_for() -> None:
    """The store counts from its answer, which is later: the holder stops first."""
    lease = Lease()
    lease.renewed(1_000)

    assert lease.is_held(1_000 + LEASE_TTL_MS - 1)
    assert not lease.is_held(1_000 + LEASE_TTL_MS)


def test_a_renewed_lease_is_renewed_again_each_second() -> None:
    """The wait counts from the last question, so that slow answers do not stretch it."""
    lease = Lease()
    lease.renewed(1_000)

    assert lease.wait_ms(1_300) == RENEW_EVERY_MS - 300
    assert lease.wait_ms(9_000) == 0


def test_a_failed_try_leaves_the_lease_and_is_soon_repeated() -> None:
    """The store being away for a moment ends nothing."""
    lease = Lease()
    lease.renewed(1_000)
    lease.failed(2_500)

    assert lease.is_held(2_500)
    assert lease.wait_ms(2_500) == RETRY_EVERY_MS
    assert lease.renewed_at == 1_000


def test_an_ended_lease_is_not_held_and_another_is_asked_for_at_once() -> None:
    """When the store says that it is gone, its remaining time by our own clock means nothing."""
    lease = Lease()
    lease.renewed(1_000)
    lease.ended(1_500)

    assert not lease.is_held(1_501)
    assert lease.wait_ms(1_501) == 0


@given(st.lists(st.integers(0, 1_500), max_size=50), st.integers(0, 10_000))
def test_the_holder_gives_up_before_the_store_does(delays: list[int], silence: int) -> None:
    """Whatever the answers take, whenever they stop: whoever believes to hold the lease is believed by the store."""
    lease = Lease()
    now = store_until = 0
    for delay in delays:
        asked_at = now
        store_until = asked_at + LEASE_TTL_MS  # had it counted from its answer, it would be later
        now = asked_at + delay
        lease.renewed(asked_at)
    now += silence

    assert not lease.is_held(now) or now < store_until
