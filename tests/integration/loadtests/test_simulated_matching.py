"""The simulation that the documentation quotes: a short evening, both ways."""

from xml.etree import ElementTree

from loadtests.simulate_matching import Evening, greedy, plot, windows

SHORT = Evening(minutes=6, women_per_s=0.5, skew=3, patience_s=40, seed=3)


def test_greedy_serves_more_of_the_scarce_side_and_sooner() -> None:
    """The reason for matching without windows; what windows gain is a better fit."""
    at_once, later = greedy(SHORT), windows(SHORT, 15)

    assert at_once.came == later.came > 20
    assert at_once.share > later.share
    assert at_once.mean_wait_s < later.mean_wait_s
    assert at_once.mean_fit < later.mean_fit


def test_the_same_evening_comes_out_the_same() -> None:
    """Whoever repeats a figure of the documentation gets that figure."""
    assert greedy(SHORT) == greedy(SHORT)


def test_the_plot_is_an_image() -> None:
    """Well-formed, with a bar and its figure for each outcome in each panel."""
    outcomes = [greedy(SHORT), windows(SHORT, 15)]
    svg = ElementTree.fromstring(plot(outcomes))  # noqa: S314  our own text
    bars = [each for each in svg.iter("{http://www.w3.org/2000/svg}rect") if each.get("x")]

    assert len(bars) == 2 + 3 * 2
    assert all(float(bar.get("height", "0")) > 0 for bar in bars)
