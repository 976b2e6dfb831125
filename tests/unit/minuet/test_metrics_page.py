"""Each metric says what it counts: in a sentence, with the values of its labels."""

import pytest

from minuet.reference.metrics import GROUPS, LABELS, Described, metrics_of, metrics_page, values_of

METRICS = [metric for group in GROUPS for metric in metrics_of(group)]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_described_in_a_sentence_that_a_table_can_hold(metric: Described) -> None:
    """It stands in the page, beside `# HELP` of what is served, and in Grafana."""
    assert metric.name.startswith("minuet_")
    assert len(metric.text.split()) >= 3
    assert metric.text[0].isupper() or metric.text[0].isdigit()
    assert metric.text.endswith(".")
    assert "|" not in metric.text
    assert "\n" not in metric.text


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_label_says_which_values_it_has(metric: Described) -> None:
    """From the start, or in the list of those that come with what happens."""
    assert all(values_of(metric, label) for label in metric.labels)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_unit_is_one_that_prometheus_counts_in(metric: Described) -> None:
    """Seconds and bytes, never milliseconds; a time says so at the beginning of its sentence."""
    assert not metric.name.removesuffix("_total").endswith(("_ms", "_s", "_kb", "_mb"))
    assert (metric.kind == "histogram") <= (metric.unit == "seconds")
    if metric.unit == "bytes":
        assert metric.text.startswith("Size of ")


def test_no_name_is_given_twice_and_none_is_left_over() -> None:
    """A description of a label that nobody has any more would stay for ever."""
    names = [metric.name for metric in METRICS]

    assert len(names) == len(set(names))
    assert set(LABELS) <= {(metric.name, label) for metric in METRICS for label in metric.labels}


def test_the_page_names_each_metric_once() -> None:
    """Whoever looks for one finds one row."""
    rows = [line for line in metrics_page().splitlines() if line.startswith("| `minuet_")]

    assert sorted(row.split("`")[1] for row in rows) == sorted(metric.name for metric in METRICS)
