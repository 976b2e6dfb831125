"""`docs/rest.md` names what is served."""

import re
from pathlib import Path

from accounts.tokens import ACCESS_S, REFRESH_S
from rest.app import ENDPOINTS
from rest.settings import Limits

TEXT = (Path(__file__).parents[3] / "docs" / "rest.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([A-Z]+)` \| `([^`]+)` \| (\w+) \| (.*) \|$", re.MULTILINE)


def test_the_table_has_every_endpoint_with_its_policy() -> None:
    """And none that is not there."""
    assert {match[:3] for match in ROW.findall(TEXT)} == {
        (endpoint.method, endpoint.path, endpoint.policy.value) for endpoint in ENDPOINTS
    }


def test_the_table_says_which_endpoints_take_a_key() -> None:
    """Clients retry by it."""
    with_key = {path for _, path, _, text in ROW.findall(TEXT) if "Idempotency-Key" in text}

    assert with_key == {endpoint.path for endpoint in ENDPOINTS if endpoint.idempotent_by_key}


def test_the_numbers_are_the_defaults() -> None:
    """Those that clients plan with."""
    limits = Limits()

    assert limits.none
    assert limits.user
    assert limits.moderator
    assert f"{limits.none.capacity} requests a minute without a token" in TEXT
    assert f"{limits.user.capacity} for users, {limits.moderator.capacity} for" in TEXT.replace("\n", " ")
    assert f"live {ACCESS_S // 60} minutes" in TEXT
    assert f"live {REFRESH_S // 86_400} days" in TEXT
