"""A server under test as a child process, and what the kernel says of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.edge.targets import Target


@dataclass(frozen=True, slots=True)
class Usage:
    """User and system time, and time spent ready to run while the core did something else."""

    cpu_s: float
    waited_s: float


class ServerProcess:
    """A running server. Linux only: reads /proc."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self.pid = process.pid
        self._proc = Path(f"/proc/{process.pid}")

    def usage(self) -> Usage:
        """What all threads have used so far: the first two fields of schedstat, in nanoseconds."""
        fields = [path.read_text().split() for path in self._proc.glob("task/*/schedstat")]
        return Usage(sum(int(line[0]) for line in fields) / 1e9, sum(int(line[1]) for line in fields) / 1e9)

    def resident_bytes(self) -> int:
        """What the process holds in memory now."""
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the server is gone")


@contextmanager
def running_server(target: Target, core: int) -> Iterator[ServerProcess]:
    """Start the target on this core; stop it at the end. Raises: RuntimeError where it does not get ready."""
    with subprocess.Popen(target.command(core), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("ready "):
                raise RuntimeError(f"{target.name} did not start; it said {line!r}")
            yield ServerProcess(process, int(line.split()[1]))
        finally:
            process.kill()
