"""Processes under test, and what the kernel says of them. Linux only: reads /proc."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from loadtests.edge.server_process import ServerProcess

_STOP_S = 10.0


@contextmanager
def running_part(parts: str, core: int | None, environment: Mapping[str, str]) -> Iterator[ServerProcess]:
    """Starts `loadtests.hub.server`, on this core or on any; stops it at the end.

    Raises: RuntimeError if it does not start.
    """
    command = [sys.executable, "-m", "loadtests.hub.server", "--parts", parts]
    if core is not None:
        command += ["--core", str(core)]
    with subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("ready "):
                raise RuntimeError(f"the process with parts {parts!r} did not start; it said {line!r}")
            yield ServerProcess(process, int(line.split()[1]))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, all threads, as the scheduler counts it."""
    total = 0
    for path in Path(f"/proc/{pid}").glob("task/*/schedstat"):
        total += int(path.read_text().split()[0])
    seconds = total / 1e9
    for path in Path(f"/proc/{pid}").glob("task/*/children"):
        seconds += sum(cpu_seconds(int(child)) for child in path.read_text().split())
    return seconds
