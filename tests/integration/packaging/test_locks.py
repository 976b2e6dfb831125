"""The lock files fit `setup.cfg`, each other, and pip."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LOCKS = {"image": (), "run": ("dev",), "test": ("dev", "test", "load")}
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)", re.MULTILINE)


def text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    return {canonicalize_name(found): version for found, version in PIN.findall(text(name))}


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].split("\n")
    for extra in extras:
        lines += setup["options.extras_require"][extra].split("\n")
    return [Requirement(line) for line in lines if line.strip()]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_setup_cfg_asks_for(name: str) -> None:
    """Whoever changes a requirement runs `make lock`."""
    locked = pins(name)

    for requirement in wanted(LOCKS[name]):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is not in requirements/{name}.txt: run `make lock`"
        assert version in requirement.specifier, f"{requirement} but {version} is locked: run `make lock`"


@pytest.mark.parametrize("name", [*LOCKS, "build", "tools"])
def test_every_pin_has_a_hash_and_no_index_is_named(name: str) -> None:
    """pip refuses the whole file otherwise; where packages come from is the installer's own configuration."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text(name))[1:]

    assert len(blocks) == len(PIN.findall(text(name)))
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"index-url|find-links|https?://", text(name))


def test_what_runs_is_what_was_tested() -> None:
    """The smaller locks take their versions from the widest."""
    tested = pins("test")

    for name in ("image", "run"):
        assert {package: tested.get(package) for package in pins(name)} == pins(name)
