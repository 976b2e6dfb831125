"""What every test may ask for by name: see the block at the head of `tests/fixtures/servers.py`."""

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.tools", "tests.fixtures.deployment"]
