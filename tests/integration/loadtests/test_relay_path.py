"""The benchmark of the relay's path inside the process: that it still drives the parts of a hub, not how quick they are."""

import subprocess
import sys


def test_it_prints_what_both_kinds_of_message_cost() -> None:
    """Descriptions and candidates pass both ways in every pair, and none is refused."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.relay_path", "--pairs", "3", "--repeats", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows[2:] == ["SDP", "ICE"]
