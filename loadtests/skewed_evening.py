"""An evening of three men for each woman that fills up, has its rush, and empties: a shape beside the locustfile.

    locust -f loadtests/locustfile.py,loadtests/skewed_evening.py --headless -H http://127.0.0.1:8080 -u 60 -t 60s -s 20

`-u` is how many there are in the rush, `-t` how long all takes; whoever leaves does so as the shape wants.
"""

from typing import ClassVar

from locust import LoadTestShape

from loadtests.crowd.arrivals import people_at


class SkewedEvening(LoadTestShape):
    """Stages of a crowd in which women are rare."""

    use_common_options: ClassVar[bool] = True
    men_per_woman: ClassVar[float] = 3.0

    def tick(self) -> tuple[int, float] | None:
        """How many people there are now, and how many come or go a second; None at the end."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        length_s, most = float(options.run_time or 60), int(options.num_users or 60)
        people = people_at(self.get_run_time() / length_s, most)
        return None if people is None else (people, max(1.0, most / 5))
