"""Who comes, and when: sides in proportion, tokens made beforehand, how many people an evening has at which moment.

Knows nothing of locust, so that it can be tested without gevent's patches.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

RUSH_HOUR: Final = ((0.15, 0.3), (0.4, 0.6), (0.75, 1.0), (1.0, 0.5))
"""Until which share of the time which share of the people is there."""


class NoTokenLeft(Exception):
    """There are more people than tokens: two with one account would disturb each other."""


def genders(men_per_woman: float) -> Iterator[str]:
    """Women and men in that proportion from the first few on, without end; a woman first, for every process of a crowd."""
    share, women = 1 / (1 + men_per_woman), 0
    for count in itertools.count():
        # The hair's breadth keeps a third of three from being 0.999...
        is_woman = int(count * share + 1e-9) >= women
        women += is_woman
        yield "female" if is_woman else "male"


def people_at(
    share_of_time: float, most: int, stages: Sequence[tuple[float, float]] = RUSH_HOUR
) -> int | None:
    """How many people there are then; None when all is over."""
    for until, share in stages:
        if share_of_time < until:
            return max(1, round(share * most))
    return None


class Tokens:
    """Access tokens that were made beforehand, one a line; each of several workers takes its own."""

    def __init__(self, path: Path, worker: int = 0, workers: int = 1) -> None:
        self._left = iter(path.read_text().split()[worker::workers])

    def take(self) -> str:
        """The next one. Raises: NoTokenLeft."""
        token = next(self._left, None)
        if token is None:
            raise NoTokenLeft
        return token
