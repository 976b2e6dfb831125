"""When a node takes one more connection, and what it says else."""

from random import Random

from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from signaling.admission import BUSY_RETRY_S, FULL_RETRY_S, AcceptGate, Capacity
from signaling.hub import TURN_S, Hub
from signaling.metrics import SessionMetrics
from signaling.session.limits import Rate


class Scene:
    """A node with room for a hundred sessions, ten handshakes a second and a fifth of a second of lag."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        self.sessions = 0
        self.lag_ms = 0
        self.gate = AcceptGate(
            Capacity(sessions=100, handshakes=Rate(10, 20), loop_lag_ms=200),
            lambda: self.sessions,
            lambda: self.lag_ms,
            self.clock.monotonic_ms,
            SessionMetrics(self.registry),
            Random(1),
        )

    def turned_away(self, reason: str) -> float | None:
        return self.registry.get_sample_value("minuet_handshakes_turned_away_total", {"reason": reason})


def test_ten_times_the_rate_lets_in_the_rate() -> None:
    """Over ten seconds of 100 handshakes a second: the burst, and ten a second; the others are told when to come."""
    scene = Scene()

    answers = []
    for _ in range(1000):
        answers.append(scene.gate.admit())
        scene.clock.advance(0.01)

    admitted = answers.count(None)
    assert 110 <= admitted <= 121
    assert scene.turned_away("rate") == 1000 - admitted
    waits = [answer for answer in answers if answer is not None]
    assert BUSY_RETRY_S[0] <= min(waits) < max(waits) <= BUSY_RETRY_S[1]
    assert len(set(waits)) > 100


def test_after_the_rush_everybody_is_welcome_at_once() -> None:
    """A rush leaves nothing behind: two seconds later there is room for a burst again."""
    scene = Scene()
    for _ in range(500):
        scene.gate.admit()
    scene.clock.advance(2)

    assert [scene.gate.admit() for _ in range(20)] == [None] * 20


def test_a_loop_that_lags_takes_nobody_until_it_has_caught_up() -> None:
    """Who is in comes first; refusals do not use up the rate."""
    scene = Scene()
    scene.lag_ms = 201
    refused = [scene.gate.admit() for _ in range(50)]
    scene.lag_ms = 200

    assert None not in refused
    assert scene.turned_away("lag") == 50
    assert [scene.gate.admit() for _ in range(20)] == [None] * 20


def test_a_full_node_sends_people_elsewhere() -> None:
    """And takes the next one as soon as somebody has left."""
    scene = Scene()
    scene.sessions = 100

    assert scene.gate.admit() == FULL_RETRY_S
    scene.sessions = 99
    assert scene.gate.admit() is None
    assert scene.turned_away("full") == 1


async def test_the_hub_knows_its_lag_before_its_timer_fires() -> None:
    """A loop that is stuck would find out too late: what is overdue at this moment counts, too."""
    clock = ManualClock()
    hub = Hub(clock, SessionMetrics(CollectorRegistry()))
    before = hub.lag_ms()
    turning = hub.keep_time()
    turning.send(None)

    clock.advance(TURN_S)
    in_time = hub.lag_ms()
    clock.advance(1.5)
    late = hub.lag_ms()
    turning.close()

    assert (before, in_time, late) == (0, 0, 1500)
