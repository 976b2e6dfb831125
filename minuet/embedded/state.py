"""One server's place in the state folder: its lock, password, log and data, with the owners and modes they need.

The state folder and what lies directly in it belong to us (passwords 0600, logs); only the data folder belongs to the
unprivileged user that the server runs as. We never write inside that one, so a server gone wrong cannot lead root's
pen elsewhere by a symbolic link.
"""

import fcntl
import os
import secrets
import shutil
from pathlib import Path

from minuet.embedded.errors import StateFolderInUse, StateFolderUnusable
from minuet.embedded.runner import RunAs, unprivileged_user


class StateLock:
    """An advisory lock on a folder; the kernel lets go of it when we die, however we die."""

    def __init__(self, folder: Path, name: str = ".lock") -> None:
        self._folder = folder.absolute()
        self._path = folder / name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, making the folder where it is missing; nothing when it is held already.

        Raises:
            StateFolderInUse: another process has it.
            StateFolderUnusable: the folder is not ours to write to.
        """
        if self._descriptor is not None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateFolderUnusable(f"cannot keep state in {self._folder}: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StateFolderInUse(self._folder, holder) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; the file stays, for removing it would race with the next owner."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class ServerState:
    """The files of one server, named after it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder.absolute()
        self._name = name
        self.lock = StateLock(self._folder, f".{name}.lock")
        self.log = self._folder / f"{name}.log"
        self.data = self._folder / name

    def run_as(self) -> RunAs | None:
        """Who the server runs as: see `unprivileged_user`."""
        return unprivileged_user(self.data)

    def password(self, *, fresh: bool) -> str:
        """The stored password; made and stored when `fresh` or when there is none and no data either.

        Raises:
            StateFolderUnusable: there is data but no password for it.
        """
        path = self._folder / f"{self._name}.password"
        if not fresh and path.exists():
            return path.read_text().strip()
        if not fresh and self.data.exists():
            raise StateFolderUnusable(
                f"{path} is missing for the data in {self.data}: restore it, or remove both"
            )
        password = secrets.token_urlsafe(24)
        aside = path.with_name(path.name + ".new")
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(password + "\n")
        aside.replace(path)
        return password

    def make_folder(self, name: str, owner: RunAs | None) -> Path:
        """A new private folder of `owner`'s beside the others; what was there under that name goes."""
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        if owner:
            os.chown(folder, owner.uid, owner.gid)
        return folder
