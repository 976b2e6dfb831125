"""Which slot a command is of, what a node says of the slots, and how long somebody waits for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as slot_by_the_library
from redis.exceptions import DataError

from storage.redis.cluster_url import ClusterUrl, names_several
from storage.redis.keys import CALL_PARTITIONS, Keys
from storage.redis.outages import FORGOTTEN_AFTER_S, Outages
from storage.redis.slots import SLOTS, Address, SlotMap, SlotRange, key_slot, read_slot_map, slot_of

ONE, TWO, THREE = Address("one", 1), Address("two", 2), Address("three", 3)


@given(st.text(alphabet="ab{}:", max_size=12))
def test_slots_are_those_of_the_specification(key: str) -> None:
    """As another implementation has them, braces in all places included."""
    assert key_slot(key) == key_slot(key.encode()) == slot_by_the_library(key.encode())


def test_what_belongs_together_is_of_one_slot() -> None:
    """Everything of one user, node, pool or partition; the prefix has no say."""
    keys = Keys("any:")
    groups = [
        [keys.user("u"), keys.blocks("u"), keys.recent("u"), keys.reply("u", "d")],
        [keys.node_lease("n"), keys.node_sessions("n"), keys.node_stats("n"), keys.node_inbox("n")],
        [
            keys.tickets("p"),
            keys.arrivals("p"),
            keys.matches("p"),
            keys.pool_owner("p"),
            keys.pool_counts("p"),
        ],
        [keys.call_deadlines(7), keys.call_states(7), keys.calls_ended(7), keys.calls_to_visit(7)],
    ]

    assert [len({key_slot(key) for key in group}) for group in groups] == [1] * len(groups)
    assert key_slot(keys.user("u")) == key_slot(Keys("other:").user("u"))


def test_calls_are_spread_over_the_slots() -> None:
    """256 partitions leave no third of a cluster without calls."""
    thirds = [key_slot(Keys().call_deadlines(n)) * 3 // SLOTS for n in range(CALL_PARTITIONS)]

    assert all(thirds.count(third) > CALL_PARTITIONS // 5 for third in range(3))


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "k"), "k"),
        (("HMGET", b"k", "field"), "k"),
        (("EVALSHA", "sha", 2, "k", "other", "argument"), "k"),
        (("XREAD", b"COUNT", b"1", b"BLOCK", b"5", b"STREAMS", "k", "0"), "k"),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "k", ">"), "k"),
        (("XGROUP CREATE", "k", "group", "0"), "k"),
        (("SPUBLISH", "k", b"payload"), "k"),
    ],
)
def test_a_commands_slot_is_its_first_keys(command: tuple[object, ...], key: str) -> None:
    """Wherever in the command that key stands."""
    assert slot_of(command) == key_slot(key)


@pytest.mark.parametrize(
    "command", [("TIME",), ("PING",), ("SCRIPT LOAD", "return 1"), ("EVAL", "return 1", 0)]
)
def test_some_commands_may_go_anywhere(command: tuple[object, ...]) -> None:
    """Those without a key."""
    assert slot_of(command) is None


@pytest.mark.parametrize("command", [("FLUSHDB",), ("KEYS", "*"), ("SCAN", 0), ("DBSIZE",)])
def test_what_concerns_every_primary_is_refused(command: tuple[object, ...]) -> None:
    """One primary's answer would be taken for all there is."""
    with pytest.raises(DataError):
        slot_of(command)


def test_a_map_is_read_from_a_nodes_answer() -> None:
    """Primaries by slot, replicas beside them; a node that does not know its host is where it was asked."""
    found = read_slot_map(
        [
            [0, 99, [b"", 1, b"id-1", []], [b"three", 3, b"id-3", []]],
            [100, 16_383, [b"two", 2, b"id-2", []]],
        ],
        ONE,
    )

    assert (found.primary_of(99), found.primary_of(100)) == (ONE, TWO)
    assert found.primaries == (ONE, TWO)
    assert found.nodes == {ONE, TWO, THREE}
    assert found.is_complete


def test_a_slot_without_a_primary_is_seen() -> None:
    """Nobody stands in for it."""
    found = SlotMap([SlotRange(0, 16_382, ONE, "id")])

    assert found.primary_of(16_383) is None
    assert not found.is_complete


def test_a_url_names_several_nodes() -> None:
    """User, password, scheme and options go for all, and for nodes that the cluster names later."""
    url = ClusterUrl.parse("rediss://user:p%40ss@one:7000, two,[::1]:7002/0?ssl_cert_reqs=none")

    assert url.seeds == (Address("one", 7000), Address("two", 6379), Address("::1", 7002))
    assert url.of(TWO) == "rediss://user:p%40ss@two:2/0?ssl_cert_reqs=none"
    assert url.of(url.seeds[2]) == "rediss://user:p%40ss@[::1]:7002/0?ssl_cert_reqs=none"


def test_a_comma_in_a_password_names_no_second_server() -> None:
    """Only hosts are counted."""
    assert not names_several("redis://:a,b@one:1/0")
    assert names_several("redis://:a,b@one:1,two/0")


def test_patience_is_had_once_in_an_outage() -> None:
    """Whoever comes later waits until the same moment; after the end it begins anew."""
    outages = Outages(patience_s=2)

    first, later = outages.met(ONE, 10), outages.met(ONE, 11.5)
    other = outages.met(TWO, 11.5)
    outages.over(ONE)

    assert (first, later, other) == (12, 12, 13.5)
    assert not outages.is_away(ONE, 12)
    assert outages.is_away(TWO, 12)
    assert outages.met(ONE, 13) == 15


def test_an_outage_that_nobody_met_for_long_has_ended() -> None:
    """Nobody has to have seen its end."""
    outages = Outages(patience_s=2)
    outages.met(ONE, 10)

    assert outages.is_away(ONE, 10 + FORGOTTEN_AFTER_S)
    assert not outages.is_away(ONE, 10.1 + FORGOTTEN_AFTER_S)
    assert outages.met(ONE, 10 + FORGOTTEN_AFTER_S) == 12
    assert outages.met(ONE, 20.1 + FORGOTTEN_AFTER_S) == 22.1 + FORGOTTEN_AFTER_S
