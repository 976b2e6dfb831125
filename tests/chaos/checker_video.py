"""What consent promises: video is allowed only by a word of approval that nothing has taken back since."""

from collections.abc import Iterator, Sequence
from typing import Final

from tests.chaos.checker_story import Ask, Mode, Story, Tale, Violation, lines
from tests.chaos.history import Entry
from tests.chaos.readings import Readings

_SENDING: Final = ("sendrecv", "sendonly")
_GONE_MS: Final = 1_000.0
"""A second after it was taken back no picture is allowed nor on its way."""
_TOLD_MS: Final = 1_500.0
"""A second, and what the machine needs."""


def consent(story: Story, _readings: Readings, _mode: Mode) -> Iterator[Violation]:
    """Video that was never allowed, or was taken back, is not shown as allowed, and nothing that sends it is relayed."""
    for tales in story.calls().values():
        asks = sorted((ask for tale in tales for ask in tale.asks), key=lambda ask: ask.sent.number)
        seats = {tale.who: tale.seat for tale in tales}
        approvals = [ask for ask in asks if ask.type == "video.approve"]
        revocations = [ask for ask in asks if ask.type == "video.revoke"]
        for tale in tales:
            yield from _shown(tale, approvals, revocations, seats)
            yield from _relayed(tale, tales, approvals, revocations, seats, story)


def _shown(
    tale: Tale, approvals: Sequence[Ask], revocations: Sequence[Ask], seats: dict[int, str]
) -> Iterator[Violation]:
    allowed = {"a": False, "b": False}
    shut: dict[str, Entry] = {}
    version = -1
    for entry, now, number in _told(tale):
        if number is not None:
            if number < version:
                continue  # judged elsewhere
            version = number
        for sender in "ab":
            if now[sender] and not allowed[sender]:
                since = _last_before(revocations, shut.get(sender))
                if not any(_allows(one, sender, entry, since, seats) for one in approvals):
                    what = f"video of seat {sender} is allowed, by nobody"
                    if since is not None:
                        what += " since it was taken back"
                    yield Violation("consent", what, lines(_sent(since), shut.get(sender), entry))
            elif allowed[sender] and not now[sender]:
                shut[sender] = entry
            allowed[sender] = now[sender]


def taken_back(story: Story, _readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A revocation that was answered holds for whoever said it from then on, for the other within a second."""
    for tales in story.calls().values():
        seats = {tale.who: tale.seat for tale in tales}
        asks = [ask for tale in tales for ask in tale.asks]
        approvals = [ask for ask in asks if ask.type == "video.approve"]
        for revoked in (ask for ask in asks if ask.type == "video.revoke" and ask.done):
            for tale in tales:
                yield from _holds(tale, revoked, approvals, seats, story, mode)


def _holds(
    tale: Tale, revoked: Ask, approvals: Sequence[Ask], seats: dict[int, str], story: Story, mode: Mode
) -> Iterator[Violation]:
    assert revoked.reply is not None
    from_ms, is_own = revoked.reply.at_ms, tale.who == revoked.sent.who
    until_ms = from_ms + (0.0 if is_own else _GONE_MS)
    told = list(_told(tale))
    for entry, now, _ in told:
        if entry.number < revoked.reply.number or entry.at_ms < until_ms:
            continue
        if not story.was_attached(tale.who, from_ms, entry.at_ms):
            continue  # said before, and told to one who comes back
        if not is_own and mode.was_away(from_ms, entry.at_ms):
            continue
        for sender in "ab":
            if now[sender] and not any(_allows(one, sender, entry, revoked, seats) for one in approvals):
                what = f"video of seat {sender} was taken back, and is allowed still"
                yield Violation("consent", what, lines(revoked.sent, revoked.reply, entry))
    if is_own or mode.was_away(from_ms, from_ms + _TOLD_MS):
        return
    before = [now for entry, now, _ in told if entry.at_ms <= from_ms]
    if (
        not before
        or not any(before[-1].values())
        or not story.was_attached(tale.who, from_ms, from_ms + _TOLD_MS)
    ):
        return
    shut = any(not all(now.values()) for entry, now, _ in told if from_ms < entry.at_ms <= from_ms + _TOLD_MS)
    anew = any(from_ms <= one.sent.at_ms <= from_ms + _TOLD_MS for one in approvals)
    over = tale.over is not None and tale.over.at_ms <= from_ms + _TOLD_MS
    if not shut and not over and not anew:
        yield Violation(
            "consent",
            f"person {tale.who} was not told that video was taken back",
            lines(revoked.sent, revoked.reply),
        )


def _told(tale: Tale) -> Iterator[tuple[Entry, dict[str, bool], int | None]]:
    """Who may send, as it was told by and by, with the version where there is one."""
    views = {view.entry.number: view for view in tale.views}
    for entry in tale.heard:
        if entry.number in views:
            view = views[entry.number]
            yield entry, _flags(view.data["video_allowed"]), view.version
        elif entry.type in ("video.allowed", "video.revoked"):
            yield entry, _flags(entry.body["video_allowed"]), None


def _relayed(
    tale: Tale,
    tales: Sequence[Tale],
    approvals: Sequence[Ask],
    revocations: Sequence[Ask],
    seats: dict[int, str],
    story: Story,
) -> Iterator[Violation]:
    for entry in tale.heard:
        if entry.type not in ("call.offer", "call.answer") or entry.body["video"] not in _SENDING:
            continue
        sender = "b" if tale.seat == "a" else "a"
        sent = [
            ask.sent
            for other in tales
            if other is not tale
            for ask in other.asks
            if ask.type == entry.type
            and ask.sent.body["negotiation"] == entry.body["negotiation"]
            and ask.sent.number < entry.number
        ]
        if not sent:
            yield Violation("consent", "a description that nobody sent", lines(entry))
            continue
        # Taken back for certain: the revocation had been answered before it was sent, or long before it came.
        over = [
            one
            for one in revocations
            if one.done
            and one.reply
            and (one.reply.number < sent[-1].number or _is_late(entry, one.reply, story))
        ]
        since = over[-1] if over else None
        if not any(_allows(one, sender, entry, since, seats) for one in approvals):
            what = f"video of seat {sender} was relayed, and nobody had allowed it"
            yield Violation("consent", what, lines(_sent(since), sent[-1], entry))


def _is_late(entry: Entry, reply: Entry, story: Story) -> bool:
    """Whether something came, to one who was there, when a revocation must have overtaken it."""
    return entry.at_ms - reply.at_ms > _GONE_MS and story.was_attached(entry.who, reply.at_ms, entry.at_ms)


def _allows(approval: Ask, sender: str, seen: Entry, since: Ask | None, seats: dict[int, str]) -> bool:
    """Whether an approval can be why `sender` may send: said before it was seen, not done with before `since`."""
    if approval.sent.number > seen.number or approval.code:
        return False
    if approval.sent.body.get("direction", "both") != "both" and seats[approval.sent.who] == sender:
        return False
    if since is None or approval.reply is None:
        return True
    return approval.reply.number > since.sent.number


def _last_before(revocations: Sequence[Ask], entry: Entry | None) -> Ask | None:
    if entry is None:
        return None
    before = [one for one in revocations if one.sent.number < entry.number]
    return before[-1] if before else None


def _sent(ask: Ask | None) -> Entry | None:
    return None if ask is None else ask.sent


def _flags(allowed: object) -> dict[str, bool]:
    return {seat: bool(isinstance(allowed, dict) and allowed.get(seat)) for seat in "ab"}
