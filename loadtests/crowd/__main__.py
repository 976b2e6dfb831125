"""Let the crowd loose on a Minuet of its own: `make load`.

    python -m loadtests.crowd [--users 50] [--run-time 30] [--skewed] [locust's own options]

Starts `minuet dev` with a state folder of its own on free ports, with short calls and without limits of REST; runs
locust against it, headless; stops it, and ends with locust's status: 1 if anything failed.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCUSTFILE: Final = Path(__file__).parents[1] / "locustfile.py"
SKEWED: Final = LOCUSTFILE.with_name("skewed_evening.py")
_STOP_S: Final = 15.0

CONFIG: Final = """
# A crowd of dozens meets again and again, and nobody wants to wait three minutes.
[intents.dating]
call_seconds = 4.0
decide_after_s = 1.0
deciding_s = 5.0
recent_partner_s = 0.0
video_cooldown_s = 1.0
# Candidates are timed on their way, and those of a crowd without media are none of a TURN server's.
ip_privacy = "off"
[intents.friends]
call_seconds = 4.0
decide_after_s = 1.0
deciding_s = 3.0
recent_partner_s = 0.0
video_cooldown_s = 1.0
ip_privacy = "off"
"""
SETTINGS: Final = {
    "MINUET_PORT": "0",
    "MINUET_ADMIN_PORT": "0",
    "MINUET_LOG_LEVEL": "warning",
    # All of them come from one address.
    "MINUET_RATE_LIMITS_ANONYMOUS": "0",
    "MINUET_RATE_LIMITS_AUTH": "0",
    "MINUET_RATE_LIMITS_USER": "0",
    "MINUET_HANDSHAKES_PER_ADDRESS_S": "1000",
}


@contextmanager
def running_minuet() -> Iterator[str]:
    """Starts everything in a folder that is gone afterwards; its public address. Raises: RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="minuet-load-") as folder:
        config = Path(folder, "minuet.toml")
        config.write_text(CONFIG)
        # What the user has set for a server of theirs is no business of this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINUET_")}
        environment = {
            **inherited,
            **SETTINGS,
            "MINUET_CONFIG": str(config),
            "MINUET_STATE_DIR": str(Path(folder, "state")),
        }
        with subprocess.Popen(
            [sys.executable, "-m", "minuet", "dev"], env=environment, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                yield _public_address(server)
            finally:
                server.terminate()
                try:
                    server.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    server.kill()


def _public_address(server: "subprocess.Popen[str]") -> str:
    assert server.stdout is not None
    for line in server.stdout:
        words = line.split()
        if words[:1] == ["demo"]:
            return words[1].rstrip("/")
    raise RuntimeError(f"minuet dev ended with status {server.wait()}")


def crowd(url: str, users: int, run_time_s: int, more: Sequence[str], *, skewed: bool = False) -> int:
    """Locust's exit status. It gets a process of its own: gevent changes the standard library under its feet."""
    files = f"{LOCUSTFILE},{SKEWED}" if skewed else str(LOCUSTFILE)
    command = [sys.executable, "-m", "locust", "-f", files, "--headless", "--only-summary"]
    command += ["--host", url, "--users", str(users), "--spawn-rate", str(max(1, users // 5))]
    command += ["--run-time", f"{run_time_s}s", "--stop-timeout", "20", *more]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.crowd",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--run-time", type=int, default=30, metavar="SECONDS")
    parser.add_argument(
        "--skewed", action="store_true", help="three men for each woman, with a rush in the middle"
    )
    options, more = parser.parse_known_args()
    # Else the server would outlive us.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with running_minuet() as url:
        return crowd(url, options.users, options.run_time, more, skewed=options.skewed)


if __name__ == "__main__":
    sys.exit(main())
