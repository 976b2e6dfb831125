"""The page about states is what the table says."""

from pathlib import Path

from signaling.call.describe import states_markdown
from signaling.call.states import EndReason, State
from signaling.call.table import TABLE

PAGE = Path(__file__).parents[4] / "docs" / "states.md"


def test_the_page_in_the_repository_is_up_to_date() -> None:
    """`python -m minuet docs` writes it."""
    assert PAGE.read_text(encoding="utf-8") == states_markdown()


def test_every_row_and_every_reason_is_on_the_page() -> None:
    """Rows once for each of their states."""
    page = states_markdown()
    tables = page.split("## `proposed`")[1].split("## Timers")[0]
    lines = [line for line in tables.splitlines() if line.startswith("| ") and "---" not in line]

    headings = len(State)
    assert len(lines) - headings == sum(len(row.states) for row in TABLE)
    for reason in EndReason:
        assert f"`{reason}`" in page
