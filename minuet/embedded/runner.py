"""Runs one server as a child process: start, wait until ready, stop, and leave nothing behind.

Decides nothing about what runs: `valkey.py` and `postgres.py` say which binary, which arguments and when it is ready.
The child has a session of its own, so that Ctrl-C in a terminal reaches only us and we stop things in order; it never
runs as root; it dies with the thread that started it even when that one is killed (see `launcher.py`).

Not bound to an event loop: a fixture may start a server in one loop and tests pause it from others.
"""

import asyncio
import contextlib
import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from minuet.embedded.errors import ServerFailed
from minuet.embedded.launcher import FAREWELL
from minuet.embedded.processes import children_of, name_of, signal_if_there

LAUNCHER = Path(__file__).with_name("launcher.py")
LOG_LIMIT = 5_000_000
TAIL = 2_000
PROBE_PAUSE_S = 0.01
KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class RunAs:
    """The unprivileged user that a server runs as when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. Root is given up only after going to `cwd` and opening `folder` as descriptor `launcher.FOLDER`."""

    argv: tuple[str, ...]
    cwd: Path
    folder: Path | None = None
    stdin: IO[bytes] | None = None


def unprivileged_user(data: Path) -> RunAs | None:
    """Who a server over `data` runs as: None means as ourselves.

    As root: the owner of existing data, so that root and a user can take turns, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return RunAs(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return RunAs(65534, 65534)
    return RunAs(nobody.pw_uid, nobody.pw_gid)


class Child:
    """One child process and its log file."""

    def __init__(self, name: str, log: Path, run_as: RunAs | None, *, kernel_guard: bool = True) -> None:
        self.name = name
        self.log = log
        self._run_as = run_as
        self._kernel_guard = kernel_guard
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The server's process id, also after it ended, None before the first launch."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def launch(self, command: Command) -> None:
        """Start the process; it may not be ready yet. One that ended may be launched again."""
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        self._cut_lifeline()
        watched, self._lifeline = os.pipe()
        request = {
            "argv": command.argv,
            "cwd": str(command.cwd),
            "folder": str(command.folder) if command.folder else None,
            # Nothing of our own environment: it holds secrets, and PG* variables would change the server.
            "env": {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            "parent": os.getpid(),
            "lifeline": watched,
            "uid": self._run_as.uid if self._run_as else None,
            "gid": self._run_as.gid if self._run_as else None,
            "kernel_guard": self._kernel_guard,
        }
        try:
            with self._open_log() as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own launcher
                    [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(request)],
                    stdin=command.stdin or subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(watched,),
                    start_new_session=True,
                )
        finally:
            os.close(watched)

    async def until_ready(self, probe: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """Return when `probe` says so.

        Raises:
            ServerFailed: the process ended, or `timeout_s` passed.
        """
        ended = asyncio.ensure_future(self.until_ended())
        answered = asyncio.ensure_future(_until(probe))
        try:
            # Side by side: a probe may hang on a stranger who has our port, while the server has long given up.
            await asyncio.wait((ended, answered), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise self.failed(f"ended with code {self.exit_code}")
            if not answered.done():
                raise self.failed(f"was not ready within {timeout_s:g} s")
            answered.result()
        finally:
            ended.cancel()
            answered.cancel()
            await asyncio.gather(ended, answered, return_exceptions=True)

    async def until_ended(self, timeout_s: float | None = None) -> bool:
        """Wait for the process to end; False when `timeout_s` passed first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = 0.002
        while self.running:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)
        return True

    async def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        """Ask with each signal in turn, giving it its seconds, then SIGKILL. Cancelled: SIGKILL at once."""
        try:
            for number, patience_s in steps:
                if not self.running:
                    break
                self.send(number)
                # A stopped process would take the signal only once it runs again.
                self.resume()
                if await self.until_ended(patience_s):
                    break
        finally:
            self.kill_now()
            self._reap()
            self._farewell()

    async def kill(self) -> None:
        """SIGKILL to the server and its own children, as a loss of power would have it; returns when all are gone."""
        family = self.kill_now()
        await self.until_ended(KILL_WAIT_S)
        deadline = time.monotonic() + KILL_WAIT_S
        while any(map(name_of, family)) and time.monotonic() < deadline:  # noqa: ASYNC110 - not our children: no event
            await asyncio.sleep(PROBE_PAUSE_S)
        self._farewell()

    def kill_now(self) -> list[int]:
        """SIGKILL without waiting; the children that got it too."""
        return self._signal_all(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP to the server and its own children: sockets stay open, nobody answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to all that `pause` stopped."""
        if self.running and self.pid is not None:
            for child in children_of(self.pid):
                signal_if_there(child, signal.SIGCONT)
            self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send to the server itself; nothing when it has ended (never to a reused pid: it is reaped by us only)."""
        if self._process is not None:
            self._process.send_signal(number)

    def log_since_launch(self) -> str:
        """What the server wrote since it was last launched, its last 2,000 characters."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - TAIL))
                return log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def failed(self, reason: str) -> ServerFailed:
        """The error for `reason`, with the log's end."""
        return ServerFailed(self.name, reason, self.log, self.log_since_launch())

    def _signal_all(self, number: signal.Signals) -> list[int]:
        if not self.running or self.pid is None:
            return []
        # Stopped first: so it makes no child that the list would miss, and reaps none whose id could be reused.
        self.send(signal.SIGSTOP)
        family = children_of(self.pid)
        for child in family:
            signal_if_there(child, number)
        self.send(number)
        return family

    def _open_log(self) -> IO[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        log = os.fdopen(descriptor, "ab")
        self._log_start = os.fstat(descriptor).st_size
        return log

    def _reap(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(KILL_WAIT_S)
            except subprocess.TimeoutExpired:
                raise self.failed("does not end, even by SIGKILL (a disk that hangs?)") from None

    def _farewell(self) -> None:
        if self._lifeline is not None and not self.running:
            # No reader where the kernel had the watch.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._lifeline, FAREWELL)
            self._cut_lifeline()

    def _cut_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


async def _until(probe: Callable[[], Awaitable[bool]]) -> None:
    while True:
        # Not listening yet, or hung up on us while starting.
        with contextlib.suppress(OSError, EOFError):
            if await probe():
                return
        await asyncio.sleep(PROBE_PAUSE_S)


def reachable(path: Path, user: RunAs | None) -> bool:
    """Whether `user` can traverse every parent of `path` and read and enter `path` itself."""
    if user is None:
        return os.access(path, os.R_OK | os.X_OK)
    path = path.resolve()
    if not _allows(path, user, stat.S_IROTH | stat.S_IXOTH):
        return False
    return all(_allows(parent, user, stat.S_IXOTH) for parent in path.parents)


def _allows(path: Path, user: RunAs, wanted: int) -> bool:
    found = path.stat()
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid == user.gid else 0
    return (found.st_mode >> shift) & wanted == wanted
