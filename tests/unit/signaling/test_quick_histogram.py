"""The histogram of the relay path says the same as the library's."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from signaling.metrics import QuickHistogram

BUCKETS = (0.00001, 0.000025, 0.5, 2)


@pytest.mark.parametrize(
    "values", [(), (0.0,), (0.00001, 0.000011, 0.5, 0.50001, 2, 3, 1e9), (0.1,) * 1000], ids=len
)
def test_it_exposes_what_the_librarys_histogram_exposes(values: tuple[float, ...]) -> None:
    """Same buckets, bounds included below; same count and sum. Only `_created`, which nobody reads, is left out."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    quick = QuickHistogram("minuet_x_seconds", "X.", buckets=BUCKETS, registry=ours)
    usual = Histogram("minuet_x_seconds", "X.", buckets=BUCKETS, registry=theirs)
    for value in values:
        quick.observe(value)
        usual.observe(value)

    expected = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == expected


def test_a_second_one_of_the_same_name_is_refused() -> None:
    """As the library does it: two parts must not count into one name unseen."""
    registry = CollectorRegistry()
    QuickHistogram("minuet_x_seconds", "X.", buckets=BUCKETS, registry=registry)

    with pytest.raises(ValueError, match="Duplicated"):
        QuickHistogram("minuet_x_seconds", "X.", buckets=BUCKETS, registry=registry)
