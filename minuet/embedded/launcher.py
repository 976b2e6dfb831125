"""Becomes the server: the few steps between fork and exec that only the new process can take for itself.

Run as a script by `runner.py`, in a fresh interpreter without site-packages (about 15 ms), because code between fork
and exec inside a threaded parent (`preexec_fn`) can deadlock. In order: give up root, go to the server's folder,
arrange to die with the parent, exec. Knows nothing of any particular server.

Dying with the parent is the kernel's work on Linux (PR_SET_PDEATHSIG). Elsewhere a guardian process holds the read
end of a pipe whose write end only the parent has: end of file without a word before it means the parent is gone.
"""

import ctypes
import json
import os
import signal
import sys
from typing import NoReturn, TypedDict

PR_SET_PDEATHSIG = 1
FOLDER = 99
"""The descriptor under which the server finds its folder opened, when asked for."""
FAREWELL = b"."
"""What the parent writes when the server was stopped in good order and the guardian should just leave."""


class Launch(TypedDict):
    """What the parent asks for; the process's only argument, as JSON."""

    argv: list[str]
    cwd: str
    folder: str | None
    env: dict[str, str]
    parent: int
    lifeline: int
    uid: int | None
    gid: int | None
    kernel_guard: bool


def main() -> NoReturn:
    """Take the steps and exec; exit code 126 with a line on stderr when that is not possible."""
    launch: Launch = json.loads(sys.argv[1])
    try:
        become(launch)
    except OSError as error:
        print(f"launcher: {launch['argv'][0]}: {error}", file=sys.stderr)
    sys.exit(126)


def become(launch: Launch) -> None:
    """Turn this process into the server. Returns only by raising OSError."""
    # Folders first: the unprivileged user may use one that it owns without being able to reach it by its path.
    os.chdir(launch["cwd"])
    if launch["folder"] is not None:
        os.dup2(os.open(launch["folder"], os.O_RDONLY | os.O_DIRECTORY), FOLDER, inheritable=True)
    if launch["uid"] is not None and launch["gid"] is not None:
        os.setgroups([])
        os.setgid(launch["gid"])
        os.setuid(launch["uid"])
    os.umask(0o077)
    # After the change of user: that clears the parent-death signal.
    if not (launch["kernel_guard"] and die_with_parent()):
        spawn_guardian(launch["lifeline"])
    if os.getppid() != launch["parent"]:
        sys.exit("launcher: the parent is already gone")
    # What a parent ignored (Python SIGPIPE, nohup SIGHUP) would be ignored by the server too.
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.set_inheritable(launch["lifeline"], False)
    os.execve(launch["argv"][0], launch["argv"], launch["env"])  # noqa: S606 - that is what we are for


def die_with_parent() -> bool:
    """Ask the kernel for SIGKILL when the thread that started us ends. False where it cannot (not Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return False
    return bool(prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def spawn_guardian(lifeline: int) -> None:
    """Leave a process behind that kills this one, by then the server, when the lifeline breaks."""
    server = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    # Twice, so that the guardian is init's child and not the server's: PostgreSQL counts its children.
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.read(lifeline, 1) != FAREWELL:
        os.kill(server, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
