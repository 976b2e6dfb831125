"""Old clients: told by name and version, as they name themselves."""

import pytest

from signaling.protocol.messages.session import ClientInfo
from signaling.versions import LeastVersions

LEAST = LeastVersions(("web:1.4.0", "android:2"))


@pytest.mark.parametrize(
    ("name", "version", "served"),
    [
        ("web", "1.4.0", True),
        ("web", "1.4", True),
        ("web", "1.10.0", True),
        ("web", "2", True),
        ("web", "1.4.0-beta.1", True),
        ("web", "1.3.9", False),
        ("web", "1.3.99.99", False),
        ("web", "", False),
        ("web", "new", False),
        ("android", "2.0.0", True),
        ("android", "1.99", False),
        ("ios", "0.1", True),
        ("", "", True),
    ],
)
def test_a_client_is_served_from_its_least_version_on(name: str, version: str, served: bool) -> None:
    """Numbers are compared as numbers; clients that nobody set a least version for are always served."""
    assert LEAST.serves(ClientInfo(name=name, version=version)) is served
