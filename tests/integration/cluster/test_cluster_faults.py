"""The tests' own cluster: what is broken there is broken for real."""

from tests.fixtures.cluster import Cluster


async def test_a_killed_primarys_replica_takes_over_with_its_data(private_cluster: Cluster) -> None:
    """A write that was copied survives, on another node; the killed one comes back as that one's replica."""
    old = await private_cluster.primary_of("a")
    await private_cluster.ask(old, "SET", "a", "1")
    await private_cluster.ask(old, "WAIT", 1, 1_000)

    await private_cluster.kill(old)
    new = await private_cluster.failed_over(old)
    after = await private_cluster.ask(new, "GET", "a")
    await private_cluster.restart(old)

    assert new is not old
    assert after == b"1"
    assert await private_cluster.replica_of(new) is old


async def test_a_stale_replica_takes_over_without_what_was_acknowledged(private_cluster: Cluster) -> None:
    """What the primary acknowledged after its replica heard no more is gone, what came before is there."""
    old = await private_cluster.primary_of("a")
    await private_cluster.ask(old, "SET", "a", "before")
    await private_cluster.ask(old, "WAIT", 1, 1_000)

    async with private_cluster.unreplicated(old) as replica:
        acknowledged = await private_cluster.ask(old, "SET", "a", "after")
        new = await private_cluster.lose_acknowledged(old)

    assert acknowledged == b"OK"
    assert new is replica
    assert await private_cluster.ask(new, "GET", "a") == b"before"
    assert await private_cluster.primary_of("a") is new


async def test_a_hand_over_loses_nothing(private_cluster: Cluster) -> None:
    """Both stay up, and the new primary has the data."""
    old = await private_cluster.primary_of("a")
    await private_cluster.ask(old, "SET", "a", "1")

    new = await private_cluster.hand_over(old)

    assert new is not old
    assert old.running
    assert await private_cluster.ask(new, "GET", "a") == b"1"
