"""The runner by itself, with small shell programs in the server's place."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from minuet.embedded import ServerFailed
from minuet.embedded.runner import LOG_LIMIT, Child, Command

# What must come may take so long, on a machine that has much else to do.
PATIENCE_S = 60.0
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")


OURS = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ)


def shell(folder: Path, script: str) -> Command:
    return Command(("/bin/sh", "-c", script), folder)


async def never() -> bool:
    return False


async def said(child: Child, word: str) -> None:
    """Returns once the program has come so far."""
    await child.until_ready(lambda: asyncio.sleep(0, word in child.log_since_launch()), PATIENCE_S)


async def test_a_server_that_ignores_us_is_killed_after_its_time(tmp_path: Path) -> None:
    """Stopping is bounded whatever the server does."""
    child = Child("stubborn", tmp_path / "log", None)
    child.launch(shell(tmp_path, "trap '' TERM; echo deaf; while :; do sleep 0.05; done"))
    await said(child, "deaf")
    began = time.monotonic()
    await child.stop([(signal.SIGTERM, 0.3)])
    took = time.monotonic() - began

    assert child.exit_code == -signal.SIGKILL
    assert 0.3 <= took < PATIENCE_S


async def test_each_step_of_a_stop_is_tried_in_turn(tmp_path: Path) -> None:
    """A server deaf to the polite signal may heed the next."""
    child = Child("picky", tmp_path / "log", None)
    child.launch(shell(tmp_path, "trap '' INT; trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done"))
    await said(child, "up")
    await child.stop([(signal.SIGINT, 0.2), (signal.SIGTERM, PATIENCE_S)])

    assert child.exit_code == 3


async def test_a_cancelled_stop_kills_at_once(tmp_path: Path) -> None:
    """Ctrl-C during a slow stop."""
    child = Child("stubborn", tmp_path / "log", None)
    child.launch(shell(tmp_path, "trap '' TERM; echo deaf; while :; do sleep 0.05; done"))
    await said(child, "deaf")
    stop = asyncio.create_task(child.stop([(signal.SIGTERM, 60)]))
    await asyncio.sleep(0.05)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop

    assert not child.running


async def test_a_server_that_is_never_ready_is_an_error_in_time(tmp_path: Path) -> None:
    """The wait is bounded and the error carries what the server said last."""
    child = Child("slow", tmp_path / "log", None)
    child.launch(shell(tmp_path, "echo thinking; sleep 600"))
    await said(child, "thinking")
    with pytest.raises(ServerFailed, match=r"not ready within 0\.5 s.*\nthinking"):
        await child.until_ready(never, 0.5)
    await child.kill()


async def test_a_probe_that_hangs_does_not_hide_the_end_of_the_server(tmp_path: Path) -> None:
    """A stranger on our port may take the connection and say nothing, while the server has given up."""
    child = Child("brief", tmp_path / "log", None)
    child.launch(shell(tmp_path, "sleep 0.1; echo no luck; exit 4"))
    began = time.monotonic()
    with pytest.raises(ServerFailed, match="ended with code 4"):
        await child.until_ready(lambda: asyncio.sleep(600, False), 300)

    assert time.monotonic() - began < PATIENCE_S


async def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """The failure happens after the fork; it reaches the caller through the log."""
    child = Child("ghost", tmp_path / "log", None)
    child.launch(Command((str(tmp_path / "no-such-program"),), tmp_path))
    with pytest.raises(ServerFailed, match=r"code 126.*\n.*no-such-program: .*No such file"):
        await child.until_ready(never, PATIENCE_S)


@NEEDS_PROC
async def test_the_server_has_a_session_of_its_own_and_default_signals(tmp_path: Path) -> None:
    """Neither a terminal's SIGINT nor the SIGPIPE that Python ignores is inherited."""
    child = Child("curious", tmp_path / "log", None)
    child.launch(shell(tmp_path, "cat /proc/self/status; cut -d' ' -f6 /proc/self/stat; env"))
    await child.until_ended(PATIENCE_S)
    log = child.log_since_launch()
    ignored = next(line for line in log.splitlines() if line.startswith("SigIgn:"))

    assert not [number for number in OURS if int(ignored.split()[1], 16) >> (number - 1) & 1]
    assert str(child.pid) in log.splitlines()
    assert "MINUET" not in log
    assert "HOME=" not in log


async def test_a_long_log_is_set_aside_at_the_next_start(tmp_path: Path) -> None:
    """A development machine's folder must not fill up over the months: at most two files of bounded size."""
    log = tmp_path / "chatty.log"
    log.write_bytes(b"x" * (LOG_LIMIT + 1))
    child = Child("chatty", log, None)
    child.launch(shell(tmp_path, "echo anew"))
    await child.until_ended(PATIENCE_S)

    assert log.read_text() == "anew\n"
    assert (tmp_path / "chatty.log.1").stat().st_size == LOG_LIMIT + 1
