"""Asks the system about processes that are not our own children: /proc where there is one, else `ps`."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

PROC = Path("/proc")
PS_TIMEOUT_S = 5
DEAD = ("Z", "X")


def children_of(pid: int) -> list[int]:
    """The direct children of a process, as of now."""
    return [child for child, parent in _parents() if parent == pid]


def name_of(pid: int) -> str:
    """The program's name; empty when there is no such process, or only its exit code that nobody has read yet."""
    if _has_proc():
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except OSError:
            return ""
        name, _, rest = text.partition("(")[2].rpartition(")")
        return "" if rest.split()[0] in DEAD else name
    said = "".join(_ps("-o", "stat=,comm=", "-p", str(pid))).split(maxsplit=1)
    return said[1] if len(said) == 2 and said[0][0] not in DEAD else ""


def signal_if_there(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _parents() -> list[tuple[int, int]]:
    if not _has_proc():
        return [(int(pid), int(parent)) for pid, parent in map(str.split, _ps("-A", "-o", "pid=,ppid="))]
    found = []
    for entry in os.listdir(PROC):
        if entry.isdigit():
            try:
                text = (PROC / entry / "stat").read_text()
            except OSError:
                continue  # ended while we looked
            # The name in parentheses may hold spaces; the parent is the second field after it.
            found.append((int(entry), int(text.rpartition(")")[2].split()[1])))
    return found


def _has_proc() -> bool:
    return (PROC / "self" / "stat").exists()


def _ps(*arguments: str) -> list[str]:
    said = subprocess.run(  # noqa: S603 - a fixed program, its arguments ours
        ["/bin/ps", *arguments], capture_output=True, text=True, timeout=PS_TIMEOUT_S, check=False
    )
    return said.stdout.splitlines()
