"""The crowd itself: people who meet and talk on a Minuet that the command starts, stops and leaves nothing of."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from loadtests.crowd.__main__ import LOCUSTFILE

_PATIENCE_S = 240
EVENTS = (
    *(
        ("journey", name)
        for name in (
            "session start",
            "time to match",
            "call set-up",
            "relay round trip",
            "resume",
            "connection made",
            "chat delivery",
            "chat as written",
            "call in history",
            "looked on",
            "whole journey",
        )
    ),
    *(
        ("request", type_)
        for type_ in (
            "queue.join",
            "call.accept",
            "call.offer",
            "call.answer",
            "call.candidates",
            "call.media",
            "video.request",
            "connect.request",
            "chat.send",
            "chat.read",
            "presence.set",
            "presence.watch",
            "session.end",
        )
    ),
    ("POST", "/api/v1/auth/register"),
    ("GET", "/api/v1/history/interactions"),
    ("GET", "/api/v1/connections/{connection_id}/messages"),
)
"""Every step of the way, as a row of locust's statistics."""
Statistics = Mapping[tuple[str, str], Mapping[str, float]]


def run(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: gevent's patches must not reach the tests'."""
    environment = {**os.environ, **settings}
    return subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=_PATIENCE_S
    )


def read_statistics(path: Path) -> Statistics:
    return {(entry["method"], entry["name"]): entry for entry in json.loads(path.read_text())}


def children_in(folder: Path) -> list[str]:
    """The command lines of processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Sixteen people for half a minute, so that they come to everything on a slow machine too; the finished process and its
    folder."""
    folder = tmp_path_factory.mktemp("crowd")
    arguments = [
        "--users",
        "16",
        "--run-time",
        "30",
        "--patience",
        "6",
        "--json-file",
        str(folder / "statistics"),
    ]
    # A setting of the developer's own server, which the crowd's must not hear of.
    return run("loadtests.crowd", *arguments, TMPDIR=str(folder), MINUET_PORT="1"), folder


def test_people_meet_talk_and_find_their_calls_in_the_history(
    evening: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Nothing fails; every call that is found is lived through to its end, by both of its people."""
    process, folder = evening
    assert process.returncode == 0, process.stdout + process.stderr
    statistics = read_statistics(folder / "statistics.json")

    def count(kind: str, name: str) -> int:
        return int(statistics[kind, name]["num_requests"]) if (kind, name) in statistics else 0

    unseen = [entry for entry in EVENTS if not count(*entry)]
    assert unseen == []
    journeys = count("journey", "whole journey")
    assert journeys >= 4
    assert count("journey", "call in history") >= journeys
    assert count("journey", "session start") >= journeys
    assert not any(entry["num_failures"] for entry in statistics.values())


def test_women_may_be_rare(tmp_path: Path) -> None:
    """The shape brings three men for each woman; most of them wait in vain, and nothing fails."""
    path = tmp_path / "statistics"
    process = run(
        "loadtests.crowd",
        "--skewed",
        "--users",
        "12",
        "--run-time",
        "10",
        "--patience",
        "3",
        "--json-file",
        str(path),
        TMPDIR=str(tmp_path),
    )
    statistics = read_statistics(tmp_path / "statistics.json")

    assert process.returncode == 0, process.stdout + process.stderr
    assert "Shape test" in process.stderr
    assert statistics["journey", "left alone"]["num_requests"] > 0


def test_nothing_is_left_behind(evening: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """No process of the servers, no state folder."""
    _, folder = evening

    assert [path.name for path in folder.iterdir()] == ["statistics.json"]
    assert children_in(folder) == []


@pytest.mark.parametrize(
    "host",
    ["https://minuet.example", "http://192.0.2.7:8080", "http://127.0.0.1.example", "http://0.0.0.0:8080"],
)
def test_other_machines_are_left_alone(host: str) -> None:
    """The crowd refuses to set out; locust ends with a status that says so."""
    process = run("locust", "-f", str(LOCUSTFILE), "--headless", "-u", "1", "-t", "1s", "--host", host)

    assert process.returncode == 1
    assert "is not on this machine" in process.stderr
    assert "Ramping" not in process.stderr


def test_what_fails_fails_the_run(tmp_path: Path) -> None:
    """Nobody listens: locust counts it and ends with status 1."""
    path = tmp_path / "statistics"
    # On a machine that is busy two seconds may be over before anybody has begun.
    for seconds in (2, 30):
        arguments = ["--headless", "-u", "1", "-t", f"{seconds}s", "--json-file", str(path)]
        process = run("locust", "-f", str(LOCUSTFILE), *arguments, "--host", "http://127.0.0.1:9")
        if read_statistics(tmp_path / "statistics.json"):
            break

    assert process.returncode == 1
    assert read_statistics(tmp_path / "statistics.json")["POST", "/api/v1/auth/register"]["num_failures"] > 0
