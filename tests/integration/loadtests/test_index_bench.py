"""The benchmark of the index itself runs: tiny crowds, both indexes, all figures there."""

from loadtests.index_bench import bytes_per_ticket, measure, table
from loadtests.scan_index import ScanIndex
from matchmaker.bitsets import BitsetIndex


def test_both_indexes_pair_the_same_people() -> None:
    """The same people come in the same order, so as many of them meet; every figure is one."""
    bitsets, scan = measure(BitsetIndex, 300, 60), measure(ScanIndex, 300, 60)
    rows = table([bitsets, scan]).splitlines()

    assert bitsets.matches == scan.matches > 30
    assert bitsets.arrivals == len(bitsets.latencies_us) == 120
    assert 0 < bitsets.percentile(50) <= bitsets.percentile(99)
    assert min(bitsets.cpu_s, bitsets.fill_us, bitsets.widen_us) > 0
    assert len(rows) == 4
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_what_a_ticket_takes_is_counted() -> None:
    """The index's share is small beside the ticket, or a bitset is kept that nobody needs."""
    ticket, share = bytes_per_ticket(3_000)

    assert 1_000 < ticket < 20_000
    assert 50 < share < 600
