"""The wheel as a stranger gets it: built from the source archive, installed elsewhere, run from another folder."""

import configparser
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from minuet.embedded.server import free_port

ROOT = Path(__file__).resolve().parents[3]
LEFT_BEHIND = {"tests", "loadtests", "docs", "deploy", "requirements", "build", "dist", "node_modules"}
DATA = {".sql", ".lua"}
UNSHIPPED = {".gitignore", "tsconfig.json"}
START_S = 20.0


def packages() -> list[str]:
    """The project's top-level packages, as they stand in the checkout."""
    return sorted(
        entry.name
        for entry in ROOT.iterdir()
        if entry.is_dir()
        and not entry.name.startswith(".")
        and entry.name not in LEFT_BEHIND
        and any(entry.rglob("*.py"))
    )


def wanted() -> set[str]:
    """Every file of ours that a server needs at run time."""
    found = set()
    for package in packages():
        for path in (ROOT / package).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            if not path.is_file() or "__pycache__" in path.parts or "node_modules" in path.parts:
                continue
            page = name.startswith("minuet/web/") and path.name not in UNSHIPPED
            if path.suffix == ".py" or path.suffix in DATA or page:
                found.add(name)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, by way of the source archive, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "node_modules", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel; what it depends on is borrowed from ours."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder to run from, so that nothing is found by standing in the checkout."""
    for name in [name for name in os.environ if name.startswith(("MINUET_", "PYTHON"))]:
        monkeypatch.delenv(name)
    return tmp_path


def test_the_wheel_holds_every_module_migration_script_and_page(wheel: Path) -> None:
    """A folder without `__init__.py` is left out silently, and so is any file that is not Python."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())

    assert sorted(wanted() - shipped) == []
    assert any(name.endswith(".sql") for name in shipped)
    assert any(name.endswith(".lua") for name in shipped)
    assert "minuet/web/sdk/index.js" in shipped


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    """No tests, no load generators, nothing that somebody's checkout happened to contain."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert sorted(shipped - wanted()) == []


def test_every_list_names_every_package() -> None:
    """A new package must be shipped, put into the image, type-checked, and held to its layer."""
    setup, linter = configparser.ConfigParser(), configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    linter.read(ROOT / ".importlinter")
    shipped = setup["options.packages.find"]["include"].split()
    checked = linter["importlinter"]["root_packages"].split()
    layers = linter["importlinter:contract:layers"]["layers"].replace("|", " ").split()
    image = (ROOT / ".dockerignore").read_text().split()
    typed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]

    for package in packages():
        assert {package, f"{package}.*"} <= set(shipped)
        assert package in checked
        assert {package, f"({package})"} & set(layers)
        assert f"!{package}" in image
    assert sorted(typed) == packages()


def test_everything_imports_from_another_folder(wheel: Path, installed: Path, elsewhere: Path) -> None:
    """Also what only a rare command would import."""
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.endswith(".py")]
    modules = sorted(name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files)
    script = "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
    done = subprocess.run(
        [installed / "bin" / "python", "-c", script, *modules], capture_output=True, text=True, cwd=elsewhere
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(modules)
    assert all(Path(line).is_relative_to(installed) for line in done.stdout.split())


@pytest.fixture
def environment(elsewhere: Path, redis_url: str, empty_database_url: str) -> dict[str, str]:
    """What an operator sets: addresses and a secret."""
    return {
        "PATH": "/usr/bin:/bin",
        "MINUET_REDIS_URL": redis_url,
        "MINUET_DATABASE_URL": empty_database_url,
        "MINUET_AUTH_SECRET": "x" * 32,
        "MINUET_ALLOWED_ORIGINS": "https://calls.example",
        "MINUET_PORT": str(free_port()),
        "MINUET_ADMIN_PORT": str(free_port()),
    }


def test_the_installed_command_migrates_and_serves(
    installed: Path, elsewhere: Path, environment: dict[str, str]
) -> None:
    """From an empty database to a healthy node, and to a clean end on SIGTERM."""
    minuet = installed / "bin" / "minuet"
    migrated = subprocess.run(
        [minuet, "migrate", "up"], env=environment, cwd=elsewhere, capture_output=True, text=True, timeout=60
    )
    assert migrated.returncode == 0, migrated.stderr
    with (elsewhere / "log").open("wb") as log:
        hub = subprocess.Popen([minuet, "serve"], env=environment, cwd=elsewhere, stdout=log, stderr=log)
    try:
        health = wait_for_health(hub, int(environment["MINUET_ADMIN_PORT"]), elsewhere / "log")
        page = urllib.request.urlopen(f"http://127.0.0.1:{environment['MINUET_PORT']}/", timeout=5).read()
        check = subprocess.run([minuet, "healthcheck"], env=environment, cwd=elsewhere, timeout=10)
        hub.send_signal(signal.SIGTERM)
        ended = hub.wait(15)
    finally:
        hub.kill()
        hub.wait()

    assert health == 200
    assert b"<!doctype html>" in page.lower()
    assert check.returncode == 0
    assert ended == 0, (elsewhere / "log").read_text()


def test_a_health_check_without_a_server_fails(
    installed: Path, elsewhere: Path, environment: dict[str, str]
) -> None:
    """The container's health check must be able to fail."""
    done = subprocess.run(
        [installed / "bin" / "minuet", "healthcheck"],
        env=environment,
        cwd=elsewhere,
        capture_output=True,
        timeout=START_S,
    )

    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def wait_for_health(process: subprocess.Popen[bytes], port: int, log: Path) -> int:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
                return int(answer.status)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    pytest.fail(f"not healthy within {START_S:g} s:\n{log.read_text()}")
