"""Two records of one call, after the store has lost some of what people were told: which one goes on, and how.

A failover forgets the last commits, and a flush all of them; nodes then hold records that no longer follow from each
other. `merge` decides what stands: the record of the higher version goes on (then the further one, then by its bytes,
so that everybody decides alike), and whatever either of the two had closed stays closed: media that was over, video
that one of them forbids, a question that only one of them knows. A connection that either knows was made is made.
`merge` is commutative, associative and idempotent, so that it does not matter who comes first or twice. `lacks` tells
whether a record has lost what a node had told; `reconcile` makes of both the next version, with a log that says so.
Refuses to know stores, and who lost what.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from base.policy import IpPrivacy
from signaling.call.change import MAX_CONSENT_EVENTS, MAX_REFUSED_LINES, ms
from signaling.call.consent import with_event, with_refusal
from signaling.call.record import Call, ConsentEvent, ConsentKind, RefusedRelays, SeatRecord
from signaling.call.states import SEATS, Seat, State

_Value = TypeVar("_Value")

_OVER: Final = (State.DECIDING, State.ENDED)
"""Media is over, in the order in which they come."""

# Which fields go together. What is not named goes on from the record of the higher version.
_END_FIELDS: Final = ("state", "deadline_at", "closed_at", "closed_for", "ended_at", "reason")
_END_OF_SEAT: Final = ("freed", "requeued")
_ALIVE_FIELDS: Final = ("state", "deadline_at", "video_request", "extension_request")
_LOG_FIELDS: Final = ("events", "refused", "consent_head")
_BLANK_CALL: Final[dict[str, Any]] = {
    **dict.fromkeys((*_END_FIELDS, *_ALIVE_FIELDS)),
    "state": State.ENDED,
    "events": (),
    "refused": (),
    "consent_head": b"",
    "connected": False,
    "connection_id": None,
    "refusals": {},
}
_BLANK_SEAT: Final[dict[str, Any]] = {
    "freed": False,
    "requeued": False,
    "media_connected": False,
    "video_allowed": False,
    "video_off_at": None,
    "video_requests": 0,
    "video_cooldown_at": None,
    "wishes_connection": False,
    "hidden": 0,
    "signaling_spent": 0,
}


def merge(one: Call, two: Call) -> Call:
    """What stands of two records of one call; its version is the higher one of the two."""
    base = max(one, two, key=_standing)
    over = [call for call in (one, two) if call.state in _OVER]
    fields: dict[str, Any] = {
        **_longer_log(one, two),
        "policy": _stricter_policy(one, two, base),
        "refusals": _highest(one.refusals, two.refusals),
    }
    seats = {seat: _merged_seat(one.seat(seat), two.seat(seat)) for seat in SEATS}
    if over:
        end = max(over, key=_ending)
        fields |= {name: getattr(end, name) for name in _END_FIELDS}
        fields |= {"video_request": None, "extension_request": None}
        for seat in SEATS:
            seats[seat] |= {name: getattr(end.seat(seat), name) for name in _END_OF_SEAT}
            seats[seat] |= {"media_connected": False, "video_allowed": False, "video_off_at": None}
    else:
        fields["video_request"] = _agreed(one.video_request, two.video_request)
        fields["extension_request"] = _agreed(one.extension_request, two.extension_request)
    if connected := [call for call in (one, two) if call.connected]:
        made = max(connected, key=_connection)
        fields |= {"connected": True, "connection_id": made.connection_id}
        for seat in SEATS:
            seats[seat]["wishes_connection"] = made.seat(seat).wishes_connection
    for seat in SEATS:
        fields[seat] = msgspec.structs.replace(base.seat(seat), **seats[seat])
    return msgspec.structs.replace(base, **fields)


def lacks(record: Call, told: Call, revoked_at: int = 0) -> bool:
    """Whether a record permits what a node had told to be over: an end, or video that was taken back and not given anew.

    `revoked_at`: when somebody revoked last, as far as the node knows (Unix ms); the log of `told` may not say so, where there
    was nothing to take back, or where the log is another's.
    """
    if told.state in _OVER and (
        record.state not in _OVER or _OVER.index(record.state) < _OVER.index(told.state)
    ):
        return True
    return any(_was_taken_back(record, told, seat, revoked_at) for seat in SEATS)


def last_revoked_at(call: Call) -> int:
    """When video was taken back last, Unix ms; 0 for never."""
    return max(_last(call.events, ConsentKind.VIDEO_REVOKED, seat) for seat in SEATS)


def reconcile(told: Call, record: Call, now_ms: int) -> Call:
    """The next version of a record that has lost something which a node had told; the log says what is closed by it."""
    call = merge(told, record)
    newer = max(told, record, key=_standing)
    for event in _missing(call, (told, record)):
        if len(call.events) < MAX_CONSENT_EVENTS:
            call = with_event(call, event)
    for line in _missing_lines(call, (told, record)):
        if len(call.refused) < MAX_REFUSED_LINES:
            call = with_refusal(call, line)
    for seat in SEATS:
        call = _closed(call, (told, record), seat, newer, now_ms)
    return msgspec.structs.replace(call, version=max(told.version, record.version) + 1)


# What goes on.


def _standing(call: Call) -> tuple[Any, ...]:
    """The order of records: by version, then by how far they have come, then by content.

    Nothing in it but the last depends on what the other record may close, and that is compared only where neither does.
    """
    far = 2 if call.live_since is not None else 1 if call.a.accepted and call.b.accepted else 0
    blank = {seat: msgspec.structs.replace(call.seat(seat), **_BLANK_SEAT) for seat in SEATS}
    policy = msgspec.structs.replace(call.policy, ip_privacy=None)
    rest = msgspec.structs.replace(call, **_BLANK_CALL, **blank, policy=policy)
    alive = [call.state, call.deadline_at or 0, *(call.seat(seat).media_connected for seat in SEATS)]
    return call.version, far, _bytes(rest), alive


def _merged_seat(one: SeatRecord, two: SeatRecord) -> dict[str, Any]:
    times = [at for at in (one.video_off_at, two.video_off_at) if at is not None]
    cooldowns = [at for at in (one.video_cooldown_at, two.video_cooldown_at) if at is not None]
    return {
        "video_allowed": one.video_allowed and two.video_allowed,
        "video_off_at": min(times, default=None),
        "video_requests": max(one.video_requests, two.video_requests),
        "video_cooldown_at": max(cooldowns, default=None),
        "wishes_connection": one.wishes_connection and two.wishes_connection,
        # Whoever saw the higher version sees the next one as higher still.
        "hidden": min(one.hidden, two.hidden),
        "signaling_spent": max(one.signaling_spent, two.signaling_spent),
    }


def _ending(call: Call) -> tuple[int, bytes]:
    seats = [getattr(call.seat(seat), name) for seat in SEATS for name in _END_OF_SEAT]
    return _OVER.index(call.state), _bytes([*(getattr(call, name) for name in _END_FIELDS), *seats])


def _connection(call: Call) -> tuple[str, list[bool]]:
    return call.connection_id or "", [call.seat(seat).wishes_connection for seat in SEATS]


def _longer_log(one: Call, two: Call) -> dict[str, Any]:
    longer = max(one, two, key=lambda call: (len(call.events) + len(call.refused), _log(call)))
    return {name: getattr(longer, name) for name in _LOG_FIELDS}


def _log(call: Call) -> bytes:
    return _bytes([getattr(call, name) for name in _LOG_FIELDS])


def _stricter_policy(one: Call, two: Call, base: Call) -> Any:
    said = {one.policy.ip_privacy, two.policy.ip_privacy}
    stricter = next((each for each in (IpPrivacy.RELAY, IpPrivacy.OFF) if each in said), None)
    return msgspec.structs.replace(base.policy, ip_privacy=stricter)


def _highest(one: dict[str, int], two: dict[str, int]) -> dict[str, int]:
    return {code: max(one.get(code, 0), two.get(code, 0)) for code in sorted({*one, *two})}


def _agreed(one: _Value, two: _Value) -> _Value | None:
    return one if one == two else None


def _bytes(value: Any) -> bytes:
    return msgspec.msgpack.encode(value, order="deterministic")


# What was lost.


def _was_taken_back(record: Call, told: Call, seat: Seat, revoked_at: int) -> bool:
    if not record.seat(seat).video_allowed or told.seat(seat).video_allowed:
        return False
    given = [
        event for event in record.events if event.kind is ConsentKind.VIDEO_ALLOWED and event.sender == seat
    ]
    if given and given[-1] in told.events:
        # The very yes that was taken back, whatever the clocks said by which the two are dated.
        return True
    revoked_at = max(revoked_at, _last(told.events, ConsentKind.VIDEO_REVOKED, seat))
    return revoked_at > 0 and (given[-1].at if given else 0) <= revoked_at


def _last(log: Iterable[ConsentEvent], kind: ConsentKind, sender: Seat) -> int:
    return max((event.at for event in log if event.kind is kind and event.sender == sender), default=0)


def _missing(call: Call, sources: Iterable[Call]) -> list[ConsentEvent]:
    """What the logs of the two say and that of the merged record does not, in the order of time."""
    missing = [event for source in sources for event in source.events if event not in call.events]
    return sorted(dict.fromkeys(missing), key=lambda event: event.at)


def _missing_lines(call: Call, sources: Iterable[Call]) -> list[RefusedRelays]:
    """As `_missing`, of what the gate refused; they stand behind all events."""
    after = len(call.events)
    known = {msgspec.structs.replace(line, after=after) for line in call.refused}
    lines = dict.fromkeys(
        msgspec.structs.replace(line, after=after) for source in sources for line in source.refused
    )
    return sorted((line for line in lines if line not in known), key=lambda line: line.at)


def _closed(call: Call, sources: tuple[Call, Call], seat: Seat, newer: Call, now_ms: int) -> Call:
    """Gives video that is off now, and was on in one of the records, a time to stop, and the log a line about it."""
    mine = call.seat(seat)
    if call.state in _OVER or mine.video_allowed:
        return call
    off_at = mine.video_off_at
    if any(source.seat(seat).video_allowed for source in sources):
        off_at = now_ms + ms(call.policy.revoke_window_s) if off_at is None else off_at
        said = [event.kind for event in call.events if event.sender == seat]
        if said[-1:] != [ConsentKind.VIDEO_REVOKED] and len(call.events) < MAX_CONSENT_EVENTS:
            line = ConsentEvent(at=now_ms, kind=ConsentKind.VIDEO_REVOKED, sender=seat)
            call = with_event(call, line)
    else:
        # Off in both: the newer one knows whether it has stopped by now.
        off_at = newer.seat(seat).video_off_at
    return msgspec.structs.replace(
        call, **{seat: msgspec.structs.replace(call.seat(seat), video_off_at=off_at)}
    )
