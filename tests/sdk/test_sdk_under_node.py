"""Runs the SDK's own tests, so that one command runs everything; Node.js alone runs them too (`npm test`)."""

import shutil
import subprocess
from pathlib import Path

import pytest

SDK_TESTS = Path(__file__).parent
NODE = shutil.which("node")


@pytest.mark.needs_node
@pytest.mark.skipif(NODE is None, reason="needs Node.js 20 or newer")
def test_the_sdk_passes_its_own_tests() -> None:
    """Connection, negotiation, call, chat, client and accounts of the SDK do what their specifications say."""
    files = sorted(str(path) for path in SDK_TESTS.glob("*.test.mjs"))

    result = subprocess.run([str(NODE), "--test", *files], capture_output=True, text=True, timeout=300)

    assert files
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "# fail 0" in result.stdout or "ℹ fail 0" in result.stdout
