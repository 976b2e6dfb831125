"""Parts of the store that give no mark: those that are away go without a word, a mistake of ours does not."""

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from storage.redis.nodes import RedisNodes


@pytest.mark.parametrize(("error", "lines"), [(RedisConnectionError("lost"), 0), (ValueError("a bug"), 1)])
async def test_the_other_parts_are_asked_all_the_same(
    nodes: RedisNodes, monkeypatch: pytest.MonkeyPatch, error: Exception, lines: int
) -> None:
    """A primary may be away at any moment, and that is told elsewhere; what nobody expects is in the log."""
    whole = await nodes.marks()
    mark, asked = nodes._mark, []

    async def fails_first(**command: Any) -> Any:
        asked.append(command)
        if len(asked) == 1:
            raise error
        return await mark(**command)

    monkeypatch.setattr(nodes, "_mark", fails_first)
    with capture_logs() as said:
        marks = await nodes.marks()

    assert len(asked) == len(whole)
    assert len(marks) == len(whole) - 1
    assert [line["event"] for line in said] == ["a part of the store could not be asked"] * lines
