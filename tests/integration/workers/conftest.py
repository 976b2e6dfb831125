"""Starts supervisors with their workers."""

import pytest

from tests.fixtures.deployment import Deploy, People
from tests.integration.workers.crew import Crew, CrewOf


@pytest.fixture
def crew_of(deploy: Deploy, people: People) -> CrewOf:
    """`await crew_of(2)`: so many workers on one port; `beside` are further processes, the rest as for `deploy`."""

    async def start(workers: int, *beside: str, flags: str = "", **more: str) -> Crew:
        deployment = await deploy(f"serve --workers {workers} {flags}", *beside, **more)
        return Crew(deployment.of("serve"), people.http)

    return start
