"""The benchmark of the gate runs, and its worst texts stay within what one description may cost."""

from loadtests import gate_bench
from signaling.sdp import MAX_BYTES, MAX_LINES


def test_no_family_of_texts_costs_more_than_five_milliseconds() -> None:
    """Five times that, on machines that do something else besides; the best of three counts."""
    best_us: dict[str, float] = {}
    for name, sdp in gate_bench.families():
        assert len(sdp) <= MAX_BYTES + 2, name
        assert sdp.count("\n") <= MAX_LINES, name
        costs = (gate_bench.measure(gate_bench.gate_and_filter, sdp, 1) for _ in range(3))
        best_us[name] = min(cost.median_us for cost in costs)

    assert len(best_us) > 100
    assert max(best_us.values()) < 5 * gate_bench.TARGET_WORST_US, best_us


def test_a_browsers_offer_passes_within_its_time() -> None:
    """Judged and rewritten; five times the target for slow machines."""
    assert gate_bench.gate(gate_bench.USUAL)
    assert gate_bench.gate_and_filter(gate_bench.USUAL)
    assert (
        gate_bench.measure(gate_bench.gate, gate_bench.USUAL, 50).median_us < 5 * gate_bench.TARGET_USUAL_US
    )


def test_the_report_has_every_figure() -> None:
    """All three descriptions, the gate alone and with the filter, beside something else of the same run."""
    rows = gate_bench.report(rounds=3, seconds=0.1, seed=1)

    for title in ("usual", "worst for the gate", "worst for both"):
        for what in ("cut into lines", "gate", "gate and filter"):
            [row] = [row for row in rows if row[:38].rstrip() == f"{title}: {what}"]
            assert float(row[38:49]) > 0
            assert float(row[60:69]) > 0


def test_the_search_finds_texts_that_cost_more_than_the_usual_one() -> None:
    """It has not gone dull: mixing finds at least as much as a browser's offer costs."""
    for work in (gate_bench.gate, gate_bench.gate_and_filter):
        _, worst = gate_bench.search(work, 0.2, seed=1)

        usual_us = gate_bench.measure(work, gate_bench.USUAL, 9).median_us
        assert gate_bench.measure(work, worst, 9).median_us > usual_us
