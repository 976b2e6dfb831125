"""What the guides name is there: links and anchors, and in operations.md every word that stands for something in the code."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GUIDES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "tests").glob("*/README.md")),
    ROOT / "minuet" / "web" / "sdk" / "README.md",
]
SOURCES = (
    "accounts",
    "base",
    "chat",
    "jobs",
    "matchmaker",
    "minuet",
    "presence",
    "rest",
    "safety",
    "signaling",
    "storage",
    "deploy",
    "loadtests",
)
# Words of others: PostgreSQL's, Redis' and its cluster's, orchestrators', coturn's beyond the configuration that we ship, git's.
OF_OTHERS = {
    "CLUSTER FAILOVER",
    "CLUSTER FAILOVER TAKEOVER",
    "CLUSTER INFO",
    "CLUSTER NODES",
    "CLUSTER SLOTS",
    "LimitNOFILE",
    "TimeoutStopSec",
    "VACUUM FULL",
    "appendfsync",
    "appendonly",
    "cli-ip:cli-port",
    "cluster-node-timeout",
    "cluster-replica-validity-factor",
    "cluster-require-full-coverage",
    "fail",
    "maxclients",
    "maxmemory",
    "min-replicas-to-write",
    "pg_stat_activity",
    "redis-cli --cluster fix",
    "relay-ip",
    "terminationGracePeriodSeconds",
}


@cache
def sources() -> str:
    """All that runs or is shipped, in one string."""
    kinds = {".py", ".sql", ".lua", ".yml", ".conf", ".sh", ".js", ".json"}
    files = [path for name in SOURCES for path in (ROOT / name).rglob("*") if path.suffix in kinds]
    files += [ROOT / "docker-compose.yml", ROOT / ".env.example", ROOT / "Dockerfile"]
    return "\n".join(path.read_text() for path in files if "node_modules" not in path.parts)


def words() -> Iterator[str]:
    """What stands in backticks in the prose of operations.md, without values and examples."""
    text = re.sub(
        r"^```.*?^```", "", (ROOT / "docs" / "operations.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    for word in dict.fromkeys(" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)):
        if word in OF_OTHERS or word.startswith(
            ("minuet ", "docker compose ", "python -m ", "minuet_", "Minuet")
        ):
            continue
        # The path without its query, the name without its value.
        yield re.split(r"[?={]| \{", word)[0]


def anchors(page: Path) -> set[str]:
    """As they are made from headings where the page is shown; twice the same gets a number."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = found.get(plain, 0)
        found[plain] = number + 1
        names.add(f"{plain}-{number}" if number else plain)
    return names


def links() -> Iterator[tuple[Path, str]]:
    for page in GUIDES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if not target.startswith(("http://", "https://", "mailto:")):
                yield page, target


@pytest.mark.parametrize("word", [*words()])
def test_what_operations_names_is_there(word: str) -> None:
    """Log lines, settings, tables, reasons, files: who searches for one at night finds it."""
    # Paths of routes, flags with their values and keys of tables are put together from parts.
    is_made_of_parts = word.startswith(("/", "GET ", "--", "rate_limits."))
    parts = [part for part in re.split(r"[/\s.*]+", word) if part] if is_made_of_parts else [word]
    if word.endswith(".waits"):
        parts = [f'"{word.removesuffix(".waits")}"', "{job}.waits"]

    assert all(part in sources() for part in parts) or (ROOT / word).exists()


def test_every_link_between_the_guides_leads_somewhere() -> None:
    """To a file that is there, and to a heading in it."""
    found, broken = [*links()], []
    for page, target in found:
        path, _, anchor = target.partition("#")
        there = page if not path else (page.parent / path).resolve()
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append((page.name, target))

    assert {page.name for page, _ in found} >= {"README.md", "operations.md", "consent.md"}
    assert broken == []


def test_every_command_that_operations_names_is_one_of_ours() -> None:
    """`minuet x` and `docker compose ... service` as they are typed."""
    text = (ROOT / "docs" / "operations.md").read_text()
    commands = {path.stem.replace("_", "-") for path in (ROOT / "minuet" / "commands").glob("*.py")}
    named = set(re.findall(r"`minuet ([a-z-]+)", text))

    assert named
    assert named <= commands
