"""What every test may ask for by name: see the block at the head of `tests/fixtures/servers.py`."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says what else the machine does at that moment; hypothesis itself knows that in CI.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.cluster",
    "tests.fixtures.stores",
    "tests.fixtures.tools",
    "tests.fixtures.deployment",
    "tests.fixtures.second_try",
]


def pytest_configure(config: pytest.Config) -> None:
    """Lets SIGINT and SIGHUP mean what they mean.

    A run in the background ignores them where its shell arranged that, and every program that a test starts would too.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
