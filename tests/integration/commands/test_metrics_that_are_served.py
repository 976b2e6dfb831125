"""What running processes serve on `/metrics` is what docs/metrics.md lists, and nothing else."""

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from minuet.reference.metrics import GROUPS, Described, Group, metrics_of, values_of
from tests.fixtures.cluster import Cluster
from tests.fixtures.deployment import START_S, Deploy, Deployment, People, environment_for

# The parser of the text format takes `_total` away from counters.
LIBRARY = re.compile(r"process_\w+|python_info")


def listed(groups: Iterable[Group]) -> dict[str, Described]:
    return {metric.name.removesuffix("_total"): metric for group in groups for metric in metrics_of(group)}


async def served(admin: str) -> dict[str, Metric]:
    async with aiohttp.ClientSession() as http, http.get(f"{admin}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {name: family for name, family in families.items() if not LIBRARY.fullmatch(name)}


def agree(families: dict[str, Metric], metrics: dict[str, Described], *own_labels: str) -> None:
    """Names, types, sentences and labels; values too, where the page lists those that exist from the start."""
    assert set(families) == set(metrics)
    for name, metric in metrics.items():
        family = families[name]
        assert (family.type, family.documentation) == (metric.kind, metric.text)
        for sample in family.samples:
            assert sample.name in metric.series, sample
            labels = {
                label: value for label, value in sample.labels.items() if label not in ("le", *own_labels)
            }
            assert set(labels) == set(metric.labels), sample
            for label, value in labels.items():
                said = values_of(metric, label)
                values = re.findall(r"`([^`]+)`", said)
                # Else it is not a list but says where to look.
                assert value in values or said != ", ".join(f"`{one}`" for one in values), sample


async def test_an_all_in_one_serves_exactly_what_the_page_lists(deploy: Deploy, people: People) -> None:
    """With people in it, so that what counts only what happens has something to count."""
    deployment = await deploy("serve --all-in-one")
    for gender in ("female", "male"):
        person = await people.online(deployment.url, gender)
        await person.request("queue.join", {"intent": "dating", "preferences": {}})
    await person.wait_for("match.found", 30)

    families = await served(deployment.of("serve").admin)

    agree(families, listed(group for group in GROUPS if group.is_always_there))


async def test_workers_on_one_port_serve_the_rest_beside_the_supervisor(
    deploy: Deploy, database_url: str
) -> None:
    """TURN servers and a replica are set up; each sample says whose it is."""
    deployment = await deploy(
        "serve --all-in-one --workers 2",
        MINUET_TURN_URLS="turn:127.0.0.1:9",
        MINUET_TURN_SECRET="s" * 40,
        MINUET_TURN_RELAY_ADDRESSES="192.0.2.1",
        MINUET_TURN_ADMIN="127.0.0.1:9",
        MINUET_TURN_ADMIN_PASSWORD="p" * 20,
        MINUET_DATABASE_REPLICA_URL=database_url,
    )

    async with asyncio.timeout(START_S):
        while True:
            families = await served(deployment.of("serve").admin)
            whose = {sample.labels["worker"] for sample in families["minuet_build_info"].samples}
            if whose == {"0", "1", "supervisor"}:
                break
            await asyncio.sleep(0.1)

    agree(families, listed(group for group in GROUPS if group.title != "Redis Cluster"), "worker")


async def test_on_a_cluster_every_process_counts_that_too(
    private_cluster: Cluster, database_url: str, tmp_path: Path
) -> None:
    """Nothing else changes."""
    deployment = Deployment(environment_for(tmp_path, private_cluster.url, database_url, "", {}), tmp_path)
    try:
        await deployment.start("serve", "--all-in-one", "--redis-cluster")
        families = await served(deployment.of("serve").admin)
    finally:
        await deployment.stop()

    there = [group for group in GROUPS if group.is_always_there or group.title == "Redis Cluster"]
    agree(families, listed(there))


@pytest.mark.parametrize("role", ["matchmaker", "worker"])
async def test_a_role_serves_the_groups_that_are_said_to_be_its(deploy: Deploy, role: str) -> None:
    """Whoever looks for a metric at the wrong process finds out from the page why it is not there."""
    deployment = await deploy(role)
    families = await served(deployment.of(role).admin)

    own = [
        group
        for group in GROUPS
        if group.is_always_there
        and (
            group.where.startswith("Every process") or (role == "worker" and "`minuet worker`" in group.where)
        )
    ]
    agree(families, listed(own))
