"""The consent log of a call: its entries in order, each bound to all before it.

Decides what an entry is, how it is hashed and whether a log that was read again is still the one that was written. The
chain begins with the call and its two people, so that no log can be passed off as another call's; each entry's hash
is SHA-256 over the hash before it and the entry in canonical form. The record carries the last hash, and history keeps
all of them: a changed, missing, added or swapped entry shows, and so does a cut end. Refuses to know who may read it.
No description, no candidate and no address is in an entry.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec

from signaling.call.record import Call, ConsentEvent, RefusedRelays
from signaling.call.states import Seat

RELAY_REFUSED: Final = "relay_refused"
"""The kind of an entry about refused descriptions or candidates; the other kinds are `ConsentKind`'s."""
_FORMAT: Final = "minuet consent log 1"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry; `detail` is the direction that was allowed, why something was denied, or the code of a refusal."""

    number: int
    at: int
    kind: str
    by: Seat | None = None
    """Who did it; nobody where time ran out."""
    sender: Seat | None = None
    """Whose video was allowed or revoked."""
    detail: str | None = None
    count: int = 1
    """How often within about a second; above 1 only for refusals."""


class ChainState(StrEnum):
    """What a reader is told about a log."""

    INTACT = "intact"
    BROKEN = "broken"
    UNSEALED = "unsealed"  # written by a release that knew no chain


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a log is as it was written; `broken_at` is the first place where it is not."""

    state: ChainState
    broken_at: int | None = None


def genesis(call_id: str, a_user_id: str, b_user_id: str) -> bytes:
    """What the first entry of a call's log is bound to."""
    return sha256(msgspec.json.encode([_FORMAT, call_id, a_user_id, b_user_id])).digest()


def link(previous: bytes, entry: Entry) -> bytes:
    """The hash of an entry that follows `previous`: over its 32 bytes and the entry as a JSON array without spaces."""
    fields = [entry.number, entry.at, entry.kind, entry.by, entry.sender, entry.detail, entry.count]
    return sha256(previous + msgspec.json.encode(fields)).digest()


def entries(call: Call) -> list[Entry]:
    """The whole log; what is added to the call later comes behind."""
    found: list[Entry] = []
    refused = iter(call.refused)
    next_refused = next(refused, None)
    for position, event in enumerate(call.events):
        while next_refused is not None and next_refused.after <= position:
            found.append(_of_refusal(len(found), next_refused))
            next_refused = next(refused, None)
        found.append(_of_event(len(found), event))
    while next_refused is not None:
        found.append(_of_refusal(len(found), next_refused))
        next_refused = next(refused, None)
    return found


def hashes(call: Call, log: Sequence[Entry]) -> list[bytes]:
    """The hash of each entry of a call's log."""
    previous = genesis(call.call_id, call.a.user_id, call.b.user_id)
    chain: list[bytes] = []
    for entry in log:
        previous = link(previous, entry)
        chain.append(previous)
    return chain


def head(call: Call) -> bytes:
    """The hash of the last entry, or what the first one will be bound to.

    Computed anew where the record has none: a node of an older release has written it.
    """
    if call.consent_head:
        return call.consent_head
    chain = hashes(call, entries(call))
    return chain[-1] if chain else genesis(call.call_id, call.a.user_id, call.b.user_id)


def with_event(call: Call, event: ConsentEvent) -> Call:
    """The call with one more event in its log."""
    entry = _of_event(_length(call), event)
    return msgspec.structs.replace(call, events=(*call.events, event), consent_head=link(head(call), entry))


def with_refusal(call: Call, refusal: RefusedRelays) -> Call:
    """The call with one more line about refused relays in its log."""
    entry = _of_refusal(_length(call), refusal)
    return msgspec.structs.replace(
        call, refused=(*call.refused, refusal), consent_head=link(head(call), entry)
    )


def grown(
    kept: Sequence[Entry], chain: Sequence[bytes], log: Sequence[Entry]
) -> tuple[list[Entry], list[bytes]]:
    """A log that was kept, and behind it what only another log of the same call says, with all hashes."""
    known = Counter(_unnumbered(entry) for entry in kept)
    entries, hashed = list(kept), list(chain)
    for entry in log:
        if known[_unnumbered(entry)] > 0:
            known[_unnumbered(entry)] -= 1
            continue
        entries.append(msgspec.structs.replace(entry, number=len(entries)))
        hashed.append(link(hashed[-1], entries[-1]))
    return entries, hashed


def verify(start: bytes, log: Sequence[Entry], chain: Sequence[bytes | None], last: bytes | None) -> Verdict:
    """Holds a log that was read against its hashes, entry by entry.

    `start` is the genesis of the call that it claims to be of, `last` the hash that was kept beside the log.
    """
    if last is None and not any(chain):
        return Verdict(state=ChainState.UNSEALED)
    previous = start
    for number, (entry, found) in enumerate(zip(log, chain, strict=True)):
        previous = link(previous, entry)
        if entry.number != number or found != previous:
            return Verdict(state=ChainState.BROKEN, broken_at=number)
    if last != previous:
        return Verdict(state=ChainState.BROKEN, broken_at=len(log))
    return Verdict(state=ChainState.INTACT)


def _unnumbered(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, number=0)


def _length(call: Call) -> int:
    return len(call.events) + len(call.refused)


def _of_event(number: int, event: ConsentEvent) -> Entry:
    return Entry(
        number=number,
        at=event.at,
        kind=event.kind,
        by=event.by,
        sender=event.sender,
        detail=event.direction or event.reason,
    )


def _of_refusal(number: int, refusal: RefusedRelays) -> Entry:
    return Entry(
        number=number,
        at=refusal.at,
        kind=RELAY_REFUSED,
        by=refusal.by,
        detail=refusal.code,
        count=refusal.count,
    )
