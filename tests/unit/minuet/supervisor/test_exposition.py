"""One metrics page of many processes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from minuet.supervisor.exposition import merge_pages


def page(extra: bool = False) -> str:
    registry = CollectorRegistry()
    Counter("minuet_things_total", 'Things, of "all" kinds {a}.', ["kind"], registry=registry).labels(
        'a "b" {c} \\ d'
    ).inc(3)
    Gauge("minuet_plain", "Without labels.", registry=registry).set(1.5)
    Histogram("minuet_wait_seconds", "Waits.", buckets=(0.1, 1), registry=registry).observe(0.5)
    if extra:
        Gauge("minuet_only_here", "In one of them.", registry=registry).set(7)
    return generate_latest(registry).decode()


def test_merged_pages_are_a_page_with_every_sample_under_its_worker() -> None:
    """A strict parser reads the result, and finds in it what the pages had, each with a label more."""
    pages = {"0": page(), "1": page(extra=True)}

    merged = merge_pages(pages)

    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(merged)
        for sample in family.samples
    }
    expected = {
        (sample.name, tuple(sorted({**sample.labels, "worker": worker}.items()))): sample.value
        for worker, alone in pages.items()
        for family in text_string_to_metric_families(alone)
        for sample in family.samples
    }
    assert found == expected


def test_every_family_is_described_once_and_stands_together() -> None:
    """The format allows a family's help and type once, and its samples in one place."""
    merged = merge_pages({"0": page(), "1": page()})

    families = [line.split()[2] for line in merged.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert {"minuet_things_total", "minuet_plain", "minuet_wait_seconds"} <= set(families)
    names = [line.split("{")[0] for line in merged.splitlines() if line.startswith("minuet_plain")]
    assert names == ["minuet_plain", "minuet_plain"]


def test_nothing_becomes_an_empty_page() -> None:
    """Where no worker answers there is nothing to show, and no stray line end."""
    assert merge_pages({}) == ""
