"""Calls from any start, and whatever may happen to them next, for properties that have to hold always."""

from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from signaling.call.change import CallRefused
from signaling.call.events import Event
from tests.unit.signaling.call.conversation import Conversation
from tests.unit.signaling.call.occurrences import MOSTLY_GOING_ON


@dataclass(frozen=True)
class Step:
    """Time passes (`None`: until the next timer is due), then something happens."""

    wait_ms: int | None
    event: Event


waits = st.sampled_from([0, 0, 0, 0, 0, 300, 1_000, 5_000, 15_000, 61_000, None])
steps = st.lists(
    st.builds(Step, wait_ms=waits, event=st.sampled_from(MOSTLY_GOING_ON)), min_size=20, max_size=50
)
starts = st.builds(
    lambda state, mutual, decide_after_s: getattr(Conversation, state)(
        mutual=mutual, decide_after_s=decide_after_s
    ),
    st.sampled_from(["proposed", "connecting", "live", "live", "live", "reconnecting", "deciding"]),
    st.booleans(),
    st.sampled_from([0, 30]),
)
thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def proceed(talk: Conversation, step: Step) -> None:
    """Lets a step happen, whether it is legal or not."""
    due_at = talk.call.next_deadline_at
    if step.wait_ms is None and due_at is not None:
        talk.now_ms = max(talk.now_ms, due_at)
    talk.later((step.wait_ms or 0) / 1000)
    try:
        talk.does(step.event)
    except CallRefused:
        return
