"""What a user's slot stores about an activity."""

import pytest

from base.ids import CallId, TicketId
from matchmaker.activity import InCall, Queued, parse_activity


@pytest.mark.parametrize(
    ("activity", "text"),
    [
        (Queued("dating", TicketId("t-1")), "queued:dating:t-1"),
        (Queued("eu:dating", TicketId("t-1")), "queued:eu:dating:t-1"),
        (InCall(CallId("c-1")), "call:c-1"),
    ],
)
def test_an_activity_is_stored_and_read_back(activity: Queued | InCall, text: str) -> None:
    """The text names kind, pool and thing; reading it gives the activity again."""
    stored = str(activity)

    assert stored == text
    assert parse_activity(stored) == activity


def test_an_empty_text_is_an_idle_user() -> None:
    """An absent field is read as no activity."""
    assert parse_activity("") is None


@pytest.mark.parametrize(
    "text", ["call:", "queued:dating", "queued::t-1", "queued:dating:", "asleep", "call"]
)
def test_a_text_of_another_shape_is_refused(text: str) -> None:
    """What none of us wrote is an error, not a guess."""
    with pytest.raises(ValueError, match="not an activity"):
        parse_activity(text)
