"""What a running `minuet dev` leaves in its state folder for commands beside it: addresses and the token secret.

Readable by its owner only, since the addresses hold passwords; gone when the servers stop.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from minuet.settings import Settings

_NAME = "running.json"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach what `minuet dev` started."""

    redis_url: str
    database_url: str
    auth_secret: str


@contextmanager
def announced(state_dir: Path, running: Running) -> Iterator[None]:
    """Lets commands beside this process find its servers for the length of the block."""
    path = state_dir / _NAME
    _write_private(path, msgspec.json.encode(running))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def beside_dev(settings: Settings) -> Settings:
    """The settings, with whatever is not set taken from a `minuet dev` that runs in the same state folder."""
    try:
        running = msgspec.json.decode((Path(settings.state_dir) / _NAME).read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return settings
    return msgspec.structs.replace(
        settings,
        redis_url=settings.redis_url or running.redis_url,
        database_url=settings.database_url or running.database_url,
        auth_secret=settings.auth_secret or running.auth_secret,
    )


def kept_secret(state_dir: Path) -> str:
    """The secret of this folder's tokens: made once, so that a restart signs nobody out."""
    path = state_dir / "auth_secret"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(48)
        _write_private(path, secret.encode())
        return secret


def _write_private(path: Path, content: bytes) -> None:
    # Opened with its final mode: at no moment can others read it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
