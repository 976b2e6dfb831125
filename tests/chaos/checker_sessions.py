"""What a session promises: numbers without gaps, one answer for each request, no close but those that lead back.

Also which refusals a good client may meet: the retryable ones, and those that its own timing brought about.
"""

from collections.abc import Iterator
from typing import Final

from base.errors import ERROR_SPECS, CloseCode, ErrorCode
from tests.chaos.checker_story import Ask, Mode, Story, Violation, lines
from tests.chaos.history import Entry
from tests.chaos.readings import Readings

_HANDOVER_MS: Final = 450.0
_LATE_SHARE: Final = 0.03
_ANSWER_MS: Final = 8_000.0
_NEAR_MS: Final = 3_000.0
_MATCH_MS: Final = 13_000.0
"""From a claim to the moment by which both are back in the queue where no call came of it."""

_BAD_CLOSES: Final = frozenset((1002, 1003, 1007, 1008, 1009, 1010, 1011, CloseCode.INTERNAL, CloseCode.RATE))

_EPHEMERAL: Final = frozenset(
    (
        "ping",
        "presence.update",
        "queue.status",
        "chat.typing",
        "session.resumed",
        "session.superseded",
        "session.drain",
    )
)
_RELAYED: Final = ("call.offer", "call.answer", "call.candidates")
_RACES: Final = frozenset(
    (
        ("queue.leave", "already_matched"),
        ("queue.join", "already_matched"),
        ("call.offer", "stale_negotiation"),
        ("call.answer", "stale_negotiation"),
        ("call.candidates", "stale_negotiation"),
        ("video.request", "already_requested"),
        ("video.request", "already_allowed"),
        ("video.request", "limit_reached"),
        ("video.approve", "no_pending_request"),
        ("video.deny", "no_pending_request"),
        ("call.extend", "limit_reached"),
        ("call.extend.reply", "no_pending_extension"),
        ("call.decline", "bad_state"),
    )
)
"""Refusals that a client meets when the other side, or a clock, was quicker."""


def numbers(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """Reliable messages of a session come once and in order, over any number of sockets."""
    for what, entry, expected in story.numbering:
        yield Violation("numbers", f"{what}: expected {expected}, heard {entry.data['seq']}", lines(entry))


def kinds(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """What is promised to arrive has a number, and what may be dropped has none, so that nobody waits for it."""
    for entries in story.accepted.values():
        for entry in entries:
            if entry.kind != "heard" or (entry.type == "error" and "id" not in entry.data):
                continue
            if (entry.data.get("seq") is None) != (entry.type in _EPHEMERAL):
                yield Violation(
                    "numbers", f"{entry.type} with the number {entry.data.get('seq')}", lines(entry)
                )


def replies(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Each request is answered once."""
    for entry in story.second_replies:
        yield Violation("replies", "an answer to nothing, or a second one", lines(entry))
    for ask in story.asks:
        if ask.reply is not None:
            continue
        from_ms, to_ms = ask.asked_ms, ask.asked_ms + _ANSWER_MS
        was_there = any(
            span.session == ask.sent.session and span.from_ms <= from_ms and to_ms <= span.to_ms
            for span in story.attached[ask.sent.who]
        )
        if was_there and not mode.was_away(from_ms, to_ms):
            yield Violation("replies", f"{ask.type} was not answered", lines(ask.sent))


def closes(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A good client is never told not to come back, and its session survives the loss of a socket."""
    away: dict[tuple[int, int], Entry] = {}
    for entry in story.history:
        place = (entry.who, entry.socket)
        if entry.type == "error" and entry.body["code"] == ErrorCode.UNAVAILABLE:
            away[place] = entry
        if entry.kind != "shut" or entry.data["by"] != "them":
            continue
        code = entry.data["code"]
        if code == CloseCode.INTERNAL and place in away:
            continue  # not let in for the moment, and told why
        if code is not None and (code in _BAD_CLOSES or 4500 <= code <= 4999):
            yield Violation("closes", f"closed with {code}", lines(entry))
    if mode.sessions_survive:
        yield from _lost_sessions(story)


def _lost_sessions(story: Story) -> Iterator[Violation]:
    """Sessions that were not resumed though nothing had happened to them.

    A node that is asked for a session, and is busy with its commands for half a second or cannot answer within one, loses
    it: on a slow machine that may happen to a few.
    """
    resumes = 0
    late: list[Violation] = []
    for who, entries in story.accepted.items():
        resume = None
        ended = ""
        for entry in entries:
            if entry.kind == "sent" and entry.type == "session.end":
                ended = entry.session  # by its own client, who may not have heard the answer
            if entry.kind == "sent" and entry.type == "session.resume" and entry.body["session_id"] != ended:
                resume = entry
                resumes += 1
            elif entry.type == "session.ready" and resume is not None and resume.socket == entry.socket:
                what = f"the session of person {who} was not resumed"
                lost = Violation("sessions survive", what, lines(resume, entry))
                if entry.at_ms - resume.at_ms >= _HANDOVER_MS:
                    late.append(lost)
                else:
                    yield lost
    if len(late) > resumes * _LATE_SHARE:
        yield from late


def refusals(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Every error is of the closed list, and either retryable or owed to the client's own timing."""
    for entry in story.history:
        if entry.kind != "heard" or entry.type != "error":
            continue
        code = entry.body["code"]
        if code not in list(ErrorCode):
            yield Violation("refusals", f"{code} is not on the list", lines(entry))
            continue
        if ERROR_SPECS[ErrorCode(code)].retryable != entry.body["retryable"]:
            yield Violation("refusals", f"{code} says of itself that it is otherwise retryable", lines(entry))
        if ERROR_SPECS[ErrorCode(code)].retryable:
            continue
        ask = story.asked.get((entry.who, entry.session, entry.data.get("id", 0)))
        if ask is None:
            yield Violation("refusals", f"{code} without a request", lines(entry))
        elif not _is_owed_to_timing(story, readings, mode, ask):
            yield Violation("refusals", f"{ask.type} was refused: {code}", lines(ask.sent, entry))


def _is_owed_to_timing(story: Story, readings: Readings, mode: Mode, ask: Ask) -> bool:
    assert ask.reply is not None
    if (ask.type, ask.code) in _RACES:
        return True
    match ask.code:
        case "call_ended":
            tales = [tale for tale in story.calls().get(ask.sent.call, ()) if tale.ended is not None]
            return bool(tales) or any(call.id == ask.sent.call for call in readings.calls)
        case "bad_state" | "video_not_allowed":
            return _something_moved(story, ask)
        case "in_call":
            return _was_in_call(story, readings, mode, ask)
        case "not_connected":
            return _was_blocked(story, readings, ask)
        case "not_a_participant":
            return _was_over(story, ask) or mode.lost(ask.sent.at_ms - 60_000, ask.reply.at_ms)
    return False


def _something_moved(story: Story, ask: Ask) -> bool:
    """Whether the call changed for one of the two about then, or a session that is in it began."""
    assert ask.reply is not None
    from_ms, to_ms = ask.sent.at_ms - _NEAR_MS, ask.reply.at_ms + _NEAR_MS
    moving = (
        "call.state",
        "call.reset",
        "call.negotiation_failed",
        "video.revoked",
        "call.ended",
        "session.ready",
    )
    return any(
        from_ms <= entry.at_ms <= to_ms and entry.type in moving
        for tale in story.calls().get(ask.sent.call, ())
        for entry in tale.heard
    )


def _was_in_call(story: Story, readings: Readings, mode: Mode, ask: Ask) -> bool:
    """Whether there was a call about then that the asker had not heard the end of before."""
    assert ask.reply is not None
    who = ask.sent.who
    from_ms, to_ms = ask.sent.at_ms - _NEAR_MS, ask.reply.at_ms + _MATCH_MS
    was_away = mode.was_away(from_ms, ask.reply.at_ms)
    known_over = {
        tale.call
        for tale in story.tales_of(who)
        if tale.over is not None and tale.over.number < ask.sent.number and not was_away
    }
    for tale in story.tales_of(who):
        if tale.call in known_over:
            continue
        if tale.heard and tale.began.at_ms <= to_ms and (tale.over is None or tale.over.at_ms >= from_ms):
            return True
    user = readings.users[who]
    return any(
        user in call.users.values()
        and call.id not in known_over
        and story.local_ms(call.created_at) <= to_ms
        and story.local_ms(call.ended_at) >= from_ms
        for call in readings.calls
    )


def _was_over(story: Story, ask: Ask) -> bool:
    """Whether a description or candidate was about a call that had just ended for its sender."""
    assert ask.reply is not None
    tale = story.tales.get((ask.sent.who, ask.sent.call))
    over = None if tale is None else tale.over
    return ask.type in _RELAYED and over is not None and over.at_ms <= ask.reply.at_ms + _NEAR_MS / 3


def _was_blocked(story: Story, readings: Readings, ask: Ask) -> bool:
    """Whether one of the two had blocked the other, or was about to."""
    assert ask.reply is not None
    pair = readings.connections.get(str(ask.sent.body.get("connection_id")), frozenset())
    users = {call.id: frozenset(call.users.values()) for call in readings.calls}
    return any(
        other.type == "safety.block"
        and other.sent.number < ask.reply.number
        and users.get(other.sent.call) == pair
        for other in story.asks
    )
