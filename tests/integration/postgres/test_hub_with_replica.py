"""A whole hub with a read replica: what is read where, and what people get when either server is away."""

import asyncio
from pathlib import Path
from typing import Any

from minuet.embedded import EmbeddedPostgres
from storage.postgres.migrations import migrate
from tests.fixtures.deployment import Deploy, People, Process
from tests.integration.postgres.standby import Standby


async def reads_by(people: People, process: Process, who: str) -> float:
    async with people.http.get(f"{process.admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(f'minuet_replica_reads_total{{by="{who}"')
    )


async def degraded(people: People, process: Process) -> tuple[int, list[str]]:
    async with people.http.get(f"{process.admin}/readyz") as response:
        body: dict[str, Any] = await response.json()
        return response.status, body["degraded"]


async def test_histories_survive_either_server(
    deploy: Deploy, people: People, private_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Read from the replica; from the primary while the replica is away; from the replica while the primary is."""
    await migrate(private_postgres.url)
    async with Standby(tmp_path / "standby", private_postgres) as standby:
        deployment = await deploy(
            "serve --all-in-one",
            MINUET_DATABASE_URL=private_postgres.url,
            MINUET_DATABASE_REPLICA_URL=standby.url,
        )
        process = deployment.of("serve")
        account = await people.account(deployment.url)
        headers = {"Authorization": f"Bearer {account['access_token']}"}

        async def history(kind: str) -> int:
            url = f"{deployment.url}/api/v1/history/{kind}"
            async with people.http.get(url, headers=headers) as response:
                return response.status

        async def until_degraded(*names: str) -> int:
            async with asyncio.timeout(30):
                while True:
                    status, found = await degraded(people, process)
                    if set(found) - {"turn"} == set(names):
                        return status
                    await asyncio.sleep(0.1)

        await until_degraded()
        both = [await history(kind) for kind in ("interactions", "connections")]
        async with asyncio.timeout(30):
            # A replica that is slow to answer is not waited for, and the primary asked.
            while await reads_by(people, process, "replica") < 2:
                both.append(await history("interactions"))
                both.pop(0)
        checked = await deployment.run("check-consent")

        await standby.kill()
        without_replica = [await history(kind) for kind in ("interactions", "connections")]
        still_ready = await until_degraded("replica")
        by_primary = await reads_by(people, process, "primary") + await reads_by(
            people, process, "replica_failed"
        )
        checked_again = await deployment.run("check-consent")

        await standby.start()
        await until_degraded()
        await private_postgres.kill()
        await until_degraded("postgres")
        without_primary = [await history(kind) for kind in ("interactions", "connections")]
        async with people.http.get(f"{deployment.url}/api/v1/connections", headers=headers) as response:
            # What has to be true this moment does not come from a copy.
            elsewhere, retry = response.status, response.headers.get("Retry-After")

    assert both == without_replica == without_primary == [200, 200]
    assert by_primary >= 2
    assert still_ready == 200
    assert checked == checked_again
    assert elsewhere == 503
    assert retry is not None
