"""Processes under test, and what the kernel says of them. Linux only: reads /proc."""

import gc
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtests.edge.server_process import ServerProcess

SERVER_CORE, CLIENT_CORE = 0, 1
_STOP_S = 10.0


@contextmanager
def running(
    command: Sequence[str], core: int | None, environment: Mapping[str, str]
) -> Iterator[ServerProcess]:
    """Starts a server that says `ready <port>`, on this core or where its parent is; stops it at the end.

    Raises: RuntimeError if it does not start.
    """
    ours = os.sched_getaffinity(0)
    # A child has its parent's cores from its first instruction on, and so have all of its threads.
    os.sched_setaffinity(0, range(os.cpu_count() or 1) if core is None else {core})
    try:
        process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, ours)
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("ready "):
                raise RuntimeError(f"{' '.join(command)} did not start; it said {line!r}")
            yield ServerProcess(process, int(line.split()[1]))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def running_part(parts: str, core: int | None, environment: Mapping[str, str]) -> Iterator[ServerProcess]:
    """Starts `loadtests.hub.server` with some or all of Minuet's parts. Raises: as `running`."""
    with running(
        [sys.executable, "-m", "loadtests.hub.server", "--parts", parts], core, environment
    ) as server:
        yield server


def prepare(descriptors: int) -> None:
    """Goes to the clients' core, with room for the sockets. Raises: SystemExit where that is not possible."""
    if sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        raise SystemExit("needs Linux (epoll, /proc) and two cores")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < descriptors + 1000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors + 1000, hard), hard))
    os.sched_setaffinity(0, {CLIENT_CORE})
    gc.disable()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, all threads, as the scheduler counts it."""
    total = 0
    for path in Path(f"/proc/{pid}").glob("task/*/schedstat"):
        total += int(path.read_text().split()[0])
    seconds = total / 1e9
    for path in Path(f"/proc/{pid}").glob("task/*/children"):
        seconds += sum(cpu_seconds(int(child)) for child in path.read_text().split())
    return seconds
