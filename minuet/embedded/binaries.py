"""Finds a server's programs: those of our wheels first, then those on this machine.

Looks only; running is `runner.py`'s. One thing it makes: a copy that an unprivileged user can read, when we are root
and the wheel lies where that user cannot go (a virtual environment under /root).
"""

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minuet.embedded.errors import EmbeddedServerError, ServerNotFound
from minuet.embedded.runner import RunAs, reachable

VERSION = re.compile(r"(?:v=|\) )(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program and what it says of itself.

    It finds its libraries and files by their place relative to its own, so `parts` of `home` must move together.
    """

    path: Path
    version: tuple[int, int]
    home: Path
    parts: tuple[str, ...]


def package_folder(name: str) -> Path | None:
    """Where an installed package lies, found without importing it: these packages act when imported."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def on_path(names: Sequence[str], folders: Sequence[Path] = ()) -> Iterator[Path]:
    """Programs of these names on PATH, then in `folders`."""
    for name in names:
        if found := shutil.which(name):
            yield Path(found).resolve()
    for folder in folders:
        for name in names:
            if os.access(folder / name, os.X_OK):
                yield (folder / name).resolve()


def choose(candidates: Iterator[Binary | Path], floor: tuple[int, int], wanted: str, advice: str) -> Binary:
    """The first candidate that runs and is new enough.

    Raises:
        ServerNotFound: there is none; says what was passed over and what to install.
    """
    passed_over = []
    for candidate in candidates:
        binary = candidate if isinstance(candidate, Binary) else inspect(candidate)
        if binary is None:
            passed_over.append(f"{candidate} does not run")
        elif binary.version < floor:
            passed_over.append(f"{binary.path} is version {binary.version[0]}.{binary.version[1]}")
        else:
            return binary
    seen = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise ServerNotFound(f"no {wanted} found{seen}: {advice}")


def inspect(path: Path, home: Path | None = None, parts: tuple[str, ...] = ()) -> Binary | None:
    """Ask a program for its version; None when it does not run on this machine."""
    try:
        said = subprocess.run(  # noqa: S603 - a server that we are about to run anyway
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = VERSION.search(said.stdout)
    if found is None:
        return None
    return Binary(path, (int(found[1]), int(found[2] or 0)), home or path.parent, parts or (path.name,))


def readable(binary: Binary, user: RunAs | None) -> Binary:
    """The binary itself where `user` can run it, else a copy of it in a cache that everybody can read.

    Raises:
        EmbeddedServerError: the cache is not ours alone to write, so nothing in it can be trusted.
    """
    if user is None or reachable(binary.path, user):
        return binary
    # Named by what it is and not where it came from: the environments of many checkouts share one copy.
    with binary.path.open("rb") as program:
        key = hashlib.file_digest(program, "sha256").hexdigest()[:16]
    copy = cache_folder() / f"{binary.path.name}-{key}"
    if not copy.exists():
        # Copied aside and renamed: a copy that was cut short must never be taken for a whole one.
        aside = Path(tempfile.mkdtemp(prefix=".copying-", dir=copy.parent))
        try:
            for part in binary.parts:
                _copy(binary.home / part, aside / part)
            _open_to_readers(aside)
            aside.rename(copy)
        except OSError:
            if not copy.exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return replace(binary, path=copy / binary.path.relative_to(binary.home), home=copy)


def cache_folder() -> Path:
    """Root's cache that others can read; under the temporary folder where the system's is read-only."""
    system = Path("/Library/Caches") if sys.platform == "darwin" else Path("/var/cache")
    for folder in (system / "minuet", Path(tempfile.gettempdir()) / f"minuet-cache-{os.geteuid()}"):
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError:
            continue
        found = folder.lstat()
        writable_by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or writable_by_others:
            raise EmbeddedServerError(
                f"{folder} must be a folder that only its owner, this user, can write to"
            )
        folder.chmod(0o755)
        return folder
    raise EmbeddedServerError(
        f"neither {system} nor {tempfile.gettempdir()} is writable for a copy of the servers"
    )


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        # Neither the libraries to link against nor Python's own files are of use to the server.
        shutil.copytree(
            source, target, symlinks=True, ignore=shutil.ignore_patterns("*.a", "*.py", "__pycache__")
        )
    elif source.exists():
        shutil.copy2(source, target)


def _open_to_readers(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        os.chmod(parent, 0o755)  # noqa: S103 - public programs, for a user who owns nothing
        for name in files:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
