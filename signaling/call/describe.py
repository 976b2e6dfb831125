"""The table of a call's states as Markdown: `docs/states.md` is this text and nothing else.

Decides only how the data of `table` and `timers` is laid out for readers.
"""

from collections.abc import Iterable
from typing import Final

from base.policy import IntentPolicy
from signaling.call import events
from signaling.call.events import COMMANDS, Event
from signaling.call.states import EndReason, Role, State
from signaling.call.table import ANYONE, ROLES, STATE_POLICY, TABLE, Row
from signaling.call.timers import TIMERS

LABELS: Final[dict[type[Event], str]] = {
    events.Accepted: "`call.accept`",
    events.Declined: "`call.decline`",
    events.HungUp: "`call.hangup`",
    events.MediaConnected: "`call.media connected`",
    events.MediaDisconnected: "`call.media disconnected`",
    events.MediaFailed: "`call.media failed`",
    events.SeatAttached: "session attached",
    events.SeatDetached: "session detached",
    events.SessionEnded: "session over",
    events.VideoRequested: "`video.request`",
    events.VideoApproved: "`video.approve`",
    events.VideoDenied: "`video.deny`",
    events.VideoRevoked: "`video.revoke`",
    events.VideoStopped: "answer with video off relayed",
    events.ExtensionRequested: "`call.extend`",
    events.ExtensionAnswered: "`call.extend.reply`",
    events.ConnectRequested: "`connect.request`",
    events.ConnectPassed: "`connect.pass`",
    events.QueueJoined: "`queue.join`",
    events.Blocked: "`safety.block`",
    events.PartnerUnavailable: "partner unavailable",
    events.SignalingLimitReached: "signaling budget spent",
    events.Moderated: "moderation",
    events.QualityReported: "quality report",
    events.RelayRefused: "relay refused by the gate",
    events.TimerFired: "timer",
}
"""Events as the protocol calls them; what no client says is named in words."""

MEANINGS: Final[dict[State, str]] = {
    State.PROPOSED: "Two people were matched; each may take the call or refuse it.",
    State.CONNECTING: "Both took it; descriptions and candidates are relayed.",
    State.LIVE: "Media flows both ways and the clock runs.",
    State.RECONNECTING: "One side's media or session is lost; the clock runs on.",
    State.DECIDING: "Media is over; whoever decides says whether the two stay in touch.",
    State.ENDED: "Final.",
}

_HEAD: Final = """# The states of a call

Generated from the transition table in `signaling/call/table.py` by `python -m minuet docs`; change the table, not this page.

A call has two seats, `a` (makes the first offer) and `b`. Each has a role: where the policy's `control` is `female`
and exactly one woman is in the pair, she is `controller` and the other `guest`; in every other pair both are
`mutual`. Durations are fields of the intent's policy, in seconds, with their defaults."""

_ILLEGAL: Final = """## Everything else

What is in no table above is illegal and changes nothing. What a client asked for is refused:

- `call_ended`: the call has ended; or it is `deciding`, and the guest asks, for whom it is over;
- `forbidden_role`: this role never decides that;
- `bad_state`: any other.

What the server only noticed (a session detached, a timer fired early) is ignored. `safety.report` is legal in every
state, also after the end, and does not touch the call. Descriptions and candidates are relayed in `connecting`, `live`
and `reconnecting`."""


def states_markdown() -> str:
    """The page `docs/states.md`."""
    parts = [_HEAD, _overview(), _diagram(), *(_state(state) for state in State if _rows(state))]
    parts += [_timers(), _ILLEGAL, _roles(), _reasons()]
    return "\n\n".join(parts) + "\n"


def _overview() -> str:
    lines = [
        f"| `{state}` | {_duration(STATE_POLICY[state]) if state in STATE_POLICY else 'none'} | {meaning} |"
        for state, meaning in MEANINGS.items()
    ]
    return _table("## States", ("state", "deadline", "meaning"), lines)


def _diagram() -> str:
    edges: dict[tuple[State, State], list[str]] = {}
    for row in TABLE:
        for state in row.states:
            for becomes in row.next_states(state) - {state}:
                edges.setdefault((state, becomes), []).append(LABELS[row.event].strip("`"))
    order = list(State)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.PROPOSED}"]
    for (state, becomes), labels in sorted(
        edges.items(), key=lambda edge: (order.index(edge[0][0]), order.index(edge[0][1]))
    ):
        lines.append(f"    {state} --> {becomes}: {', '.join(dict.fromkeys(labels))}")
    lines += [f"    {State.ENDED} --> [*]", "```"]
    return "\n".join(lines)


def _state(state: State) -> str:
    lines = [
        f"| {LABELS[row.event]} | {_who(row)} | {_becomes(row, state)} | {_codes(row)} | {row.does} |"
        for row in _rows(state)
    ]
    return _table(f"## `{state}`", ("event", "who", "becomes", "may be refused", "what happens"), lines)


def _timers() -> str:
    lines = [f"| {timer.name} | {_duration(timer.policy)} | {timer.brings} |" for timer in TIMERS]
    head = (
        "## Timers\n\nSeveral that are due fire in the order of their moments; at one moment, in this order."
    )
    return _table(head, ("timer", "duration", "when it fires"), lines)


def _roles() -> str:
    lines = [f"| {LABELS[event]} | {_names(who)} |" for event, who in ROLES.items()]
    lines += [f"| {LABELS[event]} | anyone |" for event in COMMANDS if event not in ROLES]
    return _table("## Who may ask for what", ("message", "roles"), lines)


def _reasons() -> str:
    return "## Why a call ends\n\n" + " · ".join(f"`{reason}`" for reason in EndReason)


def _table(head: str, columns: tuple[str, ...], lines: Iterable[str]) -> str:
    return "\n".join([head, "", "| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|", *lines])


def _rows(state: State) -> list[Row]:
    return [row for row in TABLE if state in row.states]


def _becomes(row: Row, state: State) -> str:
    if not row.becomes:
        return "refused"
    order = list(State)
    return ", ".join(f"`{becomes}`" for becomes in sorted(row.next_states(state), key=order.index))


def _codes(row: Row) -> str:
    return ", ".join(f"`{code}`" for code in row.refuses)


def _who(row: Row) -> str:
    # What the server noticed is nobody's right, so that only commands name roles for everyone.
    if row.who == ANYONE:
        return "anyone" if row.event in COMMANDS else "server"
    return _names(row.who)


def _names(who: frozenset[Role]) -> str:
    return ", ".join(role for role in Role if role in who)


def _duration(field: str) -> str:
    return f"`{field}` ({getattr(IntentPolicy(), field):g} s)"
