"""`minuet serve` where settings are missing: all of them are named at once, in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = {
    "MINUET_REDIS_URL": "redis://127.0.0.1:1/0",
    "MINUET_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "MINUET_AUTH_SECRET": "a secret of the tests that is long enough",
}


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one process", "a supervisor"])
@pytest.mark.parametrize(
    "given", [(), ("MINUET_REDIS_URL", "MINUET_DATABASE_URL")], ids=["none", "two of three"]
)
def test_what_is_not_set_is_named_at_once(
    flags: tuple[str, ...], given: tuple[str, ...], tmp_path: Path
) -> None:
    """Nobody has to start it three times to hear of three settings; the status is that of a mistake in the set-up."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINUET_")}
    done = subprocess.run(
        [sys.executable, "-m", "minuet", "serve", *flags],
        env=inherited
        | {name: NEEDED[name] for name in given}
        | {"PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 2
    assert done.stderr == f"minuet: not set: {', '.join(name for name in NEEDED if name not in given)}\n"
