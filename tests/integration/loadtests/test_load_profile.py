"""The compose profile `load`: what its image holds is enough, and its master and workers do what the file says."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from loadtests.crowd.__main__ import SETTINGS, running_minuet
from minuet.embedded.server import free_port

ROOT = Path(__file__).parents[3]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = (ROOT / "loadtests" / "Dockerfile").read_text()
VALUE = re.compile(r"\$\{(\w+):-[^}]*\}")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder with what the Dockerfile copies into the image, and nothing else."""
    for line in re.findall(r"(?m)^COPY (.+)$", DOCKERFILE):
        *sources, target = line.split()
        for source in sources:
            goal = tmp_path / target.removeprefix("/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, goal, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                goal.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, goal)
    return tmp_path / "crowd"


@pytest.fixture
def minuet_url() -> Iterator[str]:
    with running_minuet() as url:
        yield url


def command(service: str, url: str, **values: str) -> list[str]:
    """What the service runs: the image's entry point with the service's words, for this address."""
    (entry,) = re.findall(r"(?m)^ENTRYPOINT (.+)$", DOCKERFILE)
    words = [
        VALUE.sub(lambda found: values[found[1]], word).replace("http://127.0.0.1:8080", url)
        for word in SERVICES[service]["command"]
    ]
    return [sys.executable, "-m", *json.loads(entry), *words]


def test_a_master_and_two_workers_let_the_crowd_loose(image: Path, minuet_url: str) -> None:
    """With the services' own commands, from the image's own files; everybody comes, nothing fails."""
    port = str(free_port())
    values = {"LOAD_WORKERS": "2", "LOAD_USERS": "16", "LOAD_RUN_TIME": "20s"}
    environment = {**os.environ, "PYTHONPATH": str(image)}
    workers = [
        subprocess.Popen(
            [*command("load-worker", minuet_url), "--master-port", port], cwd=image, env=environment
        )
        for _ in range(2)
    ]
    try:
        master = subprocess.run(
            [
                *command("load-master", minuet_url, **values),
                "--master-bind-port",
                port,
                "--json-file",
                str(image / "statistics"),
            ],
            cwd=image,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        ended = [worker.wait(60) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    rows = {
        entry["name"]: entry["num_requests"] for entry in json.loads((image / "statistics.json").read_text())
    }

    assert master.returncode == 0, master.stdout + master.stderr
    assert ended == [0, 0]
    assert rows["time to match"] > 0
    assert rows["session start"] > 0


def test_the_image_holds_what_the_crowd_imports() -> None:
    """Every package that the copied modules import is in the image's lock; none of the server is."""
    lock = (ROOT / "requirements" / "load.txt").read_text()
    tested = (ROOT / "requirements" / "test.txt").read_text()
    pins = re.findall(r"(?m)^([\w.-]+==\S+)", lock)

    assert {"locust", "msgpack", "websocket-client", "gevent"} <= {pin.split("==")[0] for pin in pins}
    assert all(f"\n{pin} " in f"\n{tested}" for pin in pins)
    assert "asyncpg" not in lock


def test_the_crowd_has_a_hub_of_its_own_that_nobody_reaches() -> None:
    """Limits are off on it; it is part of the profile, publishes nothing, and only the crowd lives in its network."""
    for name in ("load-hub", "load-master", "load-worker"):
        assert SERVICES[name]["profiles"] == ["load"]
        assert "ports" not in SERVICES[name]
    assert SERVICES["load-master"]["network_mode"] == "service:load-hub"
    assert SERVICES["load-worker"]["network_mode"] == "service:load-hub"
    lifted = {key: value for key, value in SERVICES["load-hub"]["environment"].items() if key in SETTINGS}
    assert lifted == {key: SETTINGS[key] for key in SETTINGS if "RATE_LIMITS" in key or "HANDSHAKES" in key}
    assert not lifted.keys() & SERVICES["hub"]["environment"].keys()
