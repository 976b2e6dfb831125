"""The benchmark of the index itself runs: tiny crowds, both indexes, all figures there."""

from loadtests.index_bench import bytes_per_ticket, count, counts_table, measure, times_table
from loadtests.scan_index import ScanIndex
from matchmaker.bitsets import BitsetIndex
from matchmaker.page import Page


def test_both_indexes_pair_the_same_people() -> None:
    """The same people come in the same order, so as many of them meet; every figure is one."""
    bitsets, scan = measure(BitsetIndex, 300, 60), measure(ScanIndex, 300, 60)
    rows = times_table([bitsets, scan]).splitlines()

    assert bitsets.matches == scan.matches > 30
    assert bitsets.arrivals == len(bitsets.latencies_us) == 120
    assert 0 < bitsets.percentile(50) <= bitsets.percentile(99)
    assert (
        min(bitsets.arrival_us, bitsets.fill_us, bitsets.widen_us, bitsets.ask_us, bitsets.ask_again_us) > 0
    )
    assert len(rows) == 4
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_what_an_arrival_does_is_counted() -> None:
    """All who come find somebody of the other side to look at, on the one page there is; then nothing is counted."""
    matching = Page.matching
    counts = count(300, 60)
    (*_, row) = counts_table([(300, counts)]).splitlines()

    assert 60 <= len(counts.arrivals) <= 120
    assert {each.pages for each in counts.arrivals} == {1}
    assert 16 >= max(each.weighed for each in counts.arrivals) > 1
    assert row.startswith("| 300 | 1.0 | 1 | 1 |")
    assert Page.matching is matching


def test_what_a_ticket_takes_is_counted() -> None:
    """Whoever waits takes much less than a ticket as it is read, or something is kept that nobody needs."""
    kept, read = bytes_per_ticket(3_000)

    assert 300 < kept < read / 2
    assert 2_000 < read < 20_000
