"""The Makefile with a Python that only pretends, so that each rule is tried in milliseconds and without network."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.fixtures.tools import find_tool

ROOT = Path(__file__).resolve().parents[3]
# Answers as a Python of version $VERSION would, and makes environments with copies of itself.
PRETENDER = """#!/bin/sh
echo "$0 $*" >> "$TRACE"
case "$*" in
    *"import sys; sys.exit(not"*) exit 0 ;;
    *version_info*) echo "$VERSION" ;;
    *"import ensurepip"*) exit "${NO_ENSUREPIP:-0}" ;;
    "-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
    "-m pytest"*"--second-try"*) exit "${AGAIN:-1}" ;;
    "-m pytest"*"not alone"*) exit "${BESIDE:-0}" ;;
    "-m pytest"*) exit "${ALONE:-0}" ;;
    "-m minuet dev"*)
        # Winding down takes a moment; make itself stumbles when its child is gone before it has seen the signal.
        trap 'sleep 0.3; echo interrupted >> "$TRACE"; exit 0' INT
        trap 'sleep 0.3; echo terminated >> "$TRACE"; exit 0' TERM
        echo up >> "$TRACE"
        while :; do sleep 0.02; done ;;
esac
"""


class Checkout:
    """A folder with the Makefile and the lock files, and a pretending Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder / "trace"
        self.python = folder / "pretend" / "python3"
        self.python.parent.mkdir()
        self.python.write_text(PRETENDER)
        self.python.chmod(0o755)
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copytree(ROOT / "requirements", folder / "requirements")
        self.environment = {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "TRACE": str(self.trace),
            "VERSION": "3.11",
        }

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.trace.unlink(missing_ok=True)
        return subprocess.run(
            [find_tool("make"), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=30,
        )

    def did(self, words: str) -> int:
        """How often the pretending Python was called with these words."""
        return (
            sum(words in line for line in self.trace.read_text().splitlines()) if self.trace.exists() else 0
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh clone, as far as make can tell."""
    return Checkout(tmp_path)


def test_the_first_run_installs_from_the_lock_and_the_second_does_not(checkout: Checkout) -> None:
    """Starting again takes no time; only a changed lock file installs anew."""
    first = checkout.make("test")
    installs = checkout.did("--require-hashes --no-deps -r requirements/test.txt")
    second = checkout.make("test")
    again = checkout.did("pip install")
    later = time.time() + 10
    os.utime(checkout.folder / "requirements" / "test.txt", (later, later))
    checkout.make("test")
    changed = checkout.did("pip install")

    assert first.returncode == second.returncode == 0, first.stderr
    assert (installs, again, changed) == (1, 0, 1)


def test_tests_installed_is_enough_to_run(checkout: Checkout) -> None:
    """The tests' lock holds all of the other's."""
    checkout.make("test")
    shown = checkout.make("-n", "run")

    assert "pip install" not in shown.stdout
    assert "-m minuet dev" in shown.stdout


def test_another_python_gets_an_environment_of_its_own(checkout: Checkout) -> None:
    """`make test PYTHON=python3.13` and back again, without making either anew."""
    checkout.make("test")
    other = checkout.make("test", f"PYTHON={checkout.python}", VERSION="3.13")
    checkout.make("test")
    back = checkout.did("-m venv")

    assert other.returncode == 0, other.stderr
    assert (checkout.folder / ".venv-3.13" / "bin" / "python").exists()
    assert (checkout.folder / ".venv" / "bin" / "python").exists()
    assert back == 0


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    """The system's Python was upgraded, and the link in the environment leads nowhere."""
    checkout.make("test")
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    again = checkout.make("test")

    assert again.returncode == 0, again.stderr
    assert checkout.did("-m venv") == 1
    assert checkout.did("pip install") == 1


def test_a_python_of_the_wrong_version_is_refused_in_words(checkout: Checkout) -> None:
    """Before anything is made."""
    done = checkout.make("run", VERSION="3.14")

    assert done.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "3.14" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_a_python_that_is_not_there_is_refused_in_words(checkout: Checkout) -> None:
    """A typing error in PYTHON must not end in a shell's riddle."""
    done = checkout.make("run", "PYTHON=python9")

    assert done.returncode != 0
    assert "python9 is not installed" in done.stderr


def test_a_python_without_venv_says_what_to_install(checkout: Checkout) -> None:
    """Debian ships the module in a package of its own."""
    done = checkout.make("run", NO_ENSUREPIP="1")

    assert done.returncode != 0
    assert "apt install python3.11-venv" in done.stderr
    assert checkout.did("-m venv") == 0


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_reaches_the_program_and_make_waits_for_it(
    checkout: Checkout, number: signal.Signals, word: str
) -> None:
    """Ctrl-C goes to the whole group, SIGTERM to make alone: either way the program winds down before make ends."""
    make = subprocess.Popen(
        [find_tool("make"), "run"],
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not checkout.did("up") and time.monotonic() < deadline:
            time.sleep(0.02)
        if number is signal.SIGINT:
            os.killpg(make.pid, number)
        else:
            make.send_signal(number)
        _, said = make.communicate(timeout=60)
    finally:
        make.kill()
        make.wait()

    assert checkout.did(word) == 1
    assert len(said.splitlines()) <= 1
    assert "Traceback" not in said


def test_tests_run_beside_each_other_and_those_that_must_not_run_after_them(checkout: Checkout) -> None:
    """Together the two runs are all tests: the one leaves out what the other takes."""
    done = checkout.make("test")
    runs = [
        line.split("-m pytest ")[1] for line in checkout.trace.read_text().splitlines() if "-m pytest" in line
    ]

    assert done.returncode == 0, done.stderr
    assert [run.split("-m ")[1] for run in runs] == ["not alone", "alone"]
    assert "-n " in runs[0]
    assert "-n " not in runs[1]


@pytest.mark.parametrize(("beside", "alone", "runs"), [("1", "0", 3), ("0", "1", 2), ("1", "1", 2)])
def test_either_run_may_fail_them_all(checkout: Checkout, beside: str, alone: str, runs: int) -> None:
    """A failure says nothing of the other tests, so these are run all the same; what failed beside others, once more."""
    done = checkout.make("test", BESIDE=beside, ALONE=alone)

    assert done.returncode != 0
    assert checkout.did("-m pytest") == runs
    assert checkout.did("--second-try") == runs - 2


def test_what_failed_beside_others_may_pass_alone(checkout: Checkout) -> None:
    """Then all have passed; what the second try is worth is said by the run itself."""
    done = checkout.make("test", BESIDE="1", AGAIN="0")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("status", ["2", "3", "4"])
def test_an_interrupted_run_is_over(checkout: Checkout, status: str) -> None:
    """Ctrl-C, like a test file that cannot be read, leaves nothing to go on with."""
    done = checkout.make("test", BESIDE=status)

    assert done.returncode != 0
    assert checkout.did("-m pytest") == 1


def test_with_arguments_there_is_one_plain_run_of_what_they_say(checkout: Checkout) -> None:
    """A debugger, `-x` and a single test work as they do with pytest itself."""
    done = checkout.make("test", "ARGS=tests/unit -x")
    failed = checkout.make("test", "ARGS=tests/unit -x", ALONE="1")

    assert done.returncode == 0, done.stderr
    assert failed.returncode != 0
    assert checkout.did("-m pytest tests/unit -x") == checkout.did("-m pytest") == 1


def test_help_names_every_target_that_people_use(checkout: Checkout) -> None:
    """And is what a bare `make` says."""
    said = checkout.make().stdout

    for target in ("run", "test", "check", "format", "lock", "audit", "bench", "help"):
        assert f"make {target} " in said


def test_without_node_the_sdk_is_skipped_here_and_fails_in_ci(checkout: Checkout, tmp_path: Path) -> None:
    """CI must not turn green because a tool is missing."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("sh", "find", "awk", "python3"):
        found = shutil.which(name, path=checkout.environment["PATH"])
        assert found
        (bare / name).symlink_to(found)
    local = checkout.make("sdk-test", PATH=str(bare))
    ci = checkout.make("sdk-test", PATH=str(bare), CI="true")

    assert local.returncode == 0
    assert "skipped" in local.stdout
    assert ci.returncode != 0
    assert "node is missing" in ci.stderr
