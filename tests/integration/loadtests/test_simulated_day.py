"""The simulated day that the documentation quotes: its shape, and an hour of it."""

from dataclasses import replace

from base.policy import Gender, IntentPolicy
from loadtests.simulate_day import HOUR_MS, Day, Evening, arrivals

DAY = Day(people=20_000, skew=2.0, patience_s=60.0, seed=3)


def test_people_come_as_the_day_says() -> None:
    """As many as asked for within what chance allows, five times as many in the evening as in the morning."""
    times = list(arrivals(DAY, 0, 24 * HOUR_MS))
    women = sum(side is Gender.FEMALE for _, side in times)
    evening = sum(20 * HOUR_MS <= at_ms < 22 * HOUR_MS for at_ms, _ in times)
    morning = sum(8 * HOUR_MS <= at_ms < 10 * HOUR_MS for at_ms, _ in times)

    assert abs(len(times) - DAY.people) < 4 * DAY.people**0.5
    assert 0.31 < women / len(times) < 0.36
    assert 4 < evening / morning < 6
    assert times == sorted(times, key=lambda each: each[0])


def test_an_hour_is_served_and_counted() -> None:
    """Both sides of each match are counted, the scarce side is served better, and nobody who left is matched."""
    hour = Evening(DAY, IntentPolicy())
    hour.run(arrivals(DAY, 20 * HOUR_MS, 21 * HOUR_MS), 20 * HOUR_MS)
    seen = hour.hours[20]

    assert seen.met[Gender.FEMALE] == seen.met[Gender.MALE] > 50
    assert seen.share(Gender.FEMALE) > seen.share(Gender.MALE)
    assert len(seen.waits_s) == 2 * seen.met[Gender.FEMALE]
    assert 0 < seen.most_waiting < 60
    assert seen.cpu_s > 0


def test_more_people_find_somebody_sooner() -> None:
    """What the documentation says of crowds: ten times the people, and more of the scarce side meet somebody."""
    small, large = Evening(DAY, IntentPolicy()), Evening(replace(DAY, people=200_000), IntentPolicy())
    for evening, people in ((small, 20_000), (large, 200_000)):
        evening.run(arrivals(replace(DAY, people=people), 20 * HOUR_MS, 21 * HOUR_MS), 20 * HOUR_MS)

    assert large.hours[20].share(Gender.FEMALE) > small.hours[20].share(Gender.FEMALE)
