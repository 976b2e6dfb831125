"""Call records in Redis: `signaling.ports.CallStore`, `matchmaker.ports.CallStages` and `jobs.ports.EndedCalls`.

Decides the stored form of a call (a hash of rev, state, version and payload, in the partition of the call's id) and
how the 256 partitions are read in few round trips. Every rule is in the scripts `call_*.lua`, each of which touches one
partition only. What a call may do next is decided by `signaling.call`, never here.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from redis.asyncio import Redis

from base.errors import Unavailable
from base.ids import CallId
from jobs.ports import EndedCalls, Loaded, Waiting, WaitingCall
from matchmaker.matches import SEATS
from matchmaker.ports import CallOutcome, CallStage, CallStages
from signaling.call.record import Call, decode, encode
from signaling.call.states import RELAYING, EndReason, State
from signaling.ports import CallStore, StoredCall, Untold
from storage.redis.client import load_script, unavailable_when_away
from storage.redis.keys import CALL_PARTITIONS, Keys, call_partition
from storage.redis.partitions import ask_each, store_ms
from storage.redis.replicas import Replicas
from storage.redis.sorted_partitions import SortedPartitions
from storage.redis.untold import UntoldChanges, as_member

logger = structlog.get_logger(__name__)

CLAIM_AGE_MS = 10_000
"""For how long after its claim a match may become a call: nobody is rung later than that."""

READABLE_AFTER_MS = 600_000
"""For how long a call's record stays after the recorder took it: latecomers still learn how it ended."""

_REV_BYTES = 8
# Of each partition at once: 256 of these bound what one reading of the recorder's list brings.
_SHARE = 8

_STORED, _SAME, _LATE = b"stored", b"same", b"late"

# What the owners of pools ask about every match once a second until it is live: most are told by their state alone.
_ABSENT = CallOutcome(CallStage.ABSENT)
_OUTCOMES = {
    state.encode(): CallOutcome(stage)
    for stage, states in {
        CallStage.SETTING_UP: (State.PROPOSED, State.CONNECTING),
        CallStage.LIVE: (State.LIVE, State.RECONNECTING, State.DECIDING),
    }.items()
    for state in states
}


class RedisCallStore:
    """Calls on one Redis, for the hub and the matchmaker."""

    def __init__(self, redis: Redis, keys: Keys, *, visits_after_ms: Sequence[int] = ()) -> None:
        """`visits_after_ms`: when to look for allocations of a call at the TURN servers, from the end of its media."""
        self._redis = redis
        self._keys = keys
        self._visits_after_ms = tuple(visits_after_ms)
        self._create = load_script(redis, "call_create")
        self._commit = load_script(redis, "call_commit")
        self._untold = UntoldChanges(redis, keys)
        self._replicas = Replicas(redis)
        self.unconfirmed: Callable[[], None] = lambda: None
        """Told of commits that were to reach a replica, and may not have."""
        self._deadline_keys = [keys.call_deadlines(n) for n in range(CALL_PARTITIONS)]
        self._deadlines = SortedPartitions(redis, self._deadline_keys)
        self._state_keys = [keys.call_states(n) for n in range(CALL_PARTITIONS)]
        self._ended_keys = [keys.calls_ended(n) for n in range(CALL_PARTITIONS)]
        self._visit_keys = [keys.calls_to_visit(n) for n in range(CALL_PARTITIONS)]
        self._untold_keys = [keys.calls_untold(n) for n in range(CALL_PARTITIONS)]

    async def create(self, call: Call, *, claimed_at_ms: int) -> StoredCall | None:
        fresh = StoredCall(call, _new_rev())
        reply = await self._put(fresh, claimed_at_ms)
        if reply in (_STORED, _SAME):
            return fresh
        return None if reply == _LATE else _stored(*reply)

    async def load(self, call_id: CallId) -> StoredCall | None:
        with unavailable_when_away():
            row: Any = await self._redis.hmget(self._keys.call(call_id), ["rev", "payload"])
        return None if row[0] is None else _stored(*row)

    async def commit(
        self, before: StoredCall, call: Call, *, untold: Sequence[Untold] = (), confirm: bool = False
    ) -> StoredCall | None:
        deadline_at = None if call.state is State.ENDED else _deadline_of(call)
        partition = call_partition(call.call_id)
        # Made here and not in the script: a request that is sent twice after a lost answer is known by it.
        rev = _new_rev()
        media_over = before.call.state in RELAYING and call.state not in RELAYING
        keys = [
            self._keys.call(call.call_id),
            self._deadline_keys[partition],
            self._ended_keys[partition],
            self._state_keys[partition],
            self._visit_keys[partition],
            self._untold_keys[partition],
        ]
        args = [
            call.call_id,
            before.rev,
            rev,
            call.state,
            call.version,
            "" if deadline_at is None else deadline_at,
            encode(call),
            len(untold),
            *map(as_member, untold),
            *(self._visits_after_ms if media_over else ()),
        ]
        with unavailable_when_away():
            if confirm:
                committed, confirmed = await self._replicas.run(self._commit, keys, args)
                if not confirmed:
                    self.unconfirmed()
            else:
                committed = await self._commit(keys=keys, args=args)
        return StoredCall(call, rev) if committed else None

    async def restore(self, known: StoredCall) -> StoredCall | None:
        reply = await self._put(known, "")
        if reply == _STORED:
            return None
        return known if reply == _SAME else _stored(*reply)

    async def _put(self, stored: StoredCall, claimed_at_ms: int | str) -> Any:
        call = stored.call
        partition = call_partition(call.call_id)
        with unavailable_when_away():
            return await self._create(
                keys=[
                    self._keys.call(call.call_id),
                    self._deadline_keys[partition],
                    self._ended_keys[partition],
                    self._state_keys[partition],
                    self._visit_keys[partition],
                ],
                args=[
                    call.call_id,
                    stored.rev,
                    call.state,
                    call.version,
                    "" if call.state is State.ENDED else _deadline_of(call),
                    encode(call),
                    claimed_at_ms,
                    CLAIM_AGE_MS,
                    *(self._visits_after_ms if call.closed_at is not None else ()),
                ],
            )

    async def told(self, changes: Collection[Untold]) -> None:
        await self._untold.remove(changes)

    async def untold(self, *, limit: int) -> list[Untold]:
        return await self._untold.take(limit)

    async def due(self, *, overdue_ms: int, limit: int) -> list[CallId]:
        """See the port; the longest overdue first, over all partitions."""
        with unavailable_when_away():
            # Asked first: time that passes until the partitions are read makes a timer late, never early.
            latest = await store_ms(self._redis) - overdue_ms
            replies = await self._deadlines.first(limit, up_to=latest)
        found = sorted((score, member) for reply in replies for member, score in reply)
        return [CallId(member.decode()) for _, member in found[:limit]]

    async def count_by_state(self) -> dict[str, int]:
        with unavailable_when_away():
            replies: list[dict[bytes, bytes]] = await ask_each(
                self._redis, self._state_keys, lambda pipe, key: pipe.hgetall(key)
            )
        counts = {state.value: 0 for state in State if state is not State.ENDED}
        for reply in replies:
            for state, count in reply.items():
                # A newer node may know states that this one does not.
                counts[state.decode()] = counts.get(state.decode(), 0) + int(count)
        return counts

    async def stage(self, call_id: CallId) -> CallOutcome:
        with unavailable_when_away():
            state: Any = await self._redis.hget(self._keys.call(call_id), "state")
        if state is None:
            return _ABSENT
        if (outcome := _OUTCOMES.get(state)) is not None:
            return outcome
        try:
            stored = await self.load(call_id)
        except msgspec.MsgspecError as error:
            # Of another release: one match must not keep its pool's owner from all others.
            logger.error("unreadable call", call_id=call_id, reason=str(error))
            if state == State.ENDED.encode():
                return CallOutcome(CallStage.ENDED)
            raise Unavailable("the call is in a state of another release") from error
        if stored is None:
            return _ABSENT
        call = stored.call
        if call.state is not State.ENDED:
            return _OUTCOMES[call.state.encode()]
        returns = frozenset(seat for seat in SEATS if call.seat(seat).requeued)
        # Whoever declines is the one who does not go back.
        declined = frozenset(SEATS) - returns if call.reason is EndReason.DECLINED else frozenset()
        return CallOutcome(CallStage.ENDED, returns, declined)


class RedisEndedCalls:
    """The calls that wait for the recorder."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._recorded = load_script(redis, "call_recorded")
        self._ended_keys = [keys.calls_ended(n) for n in range(CALL_PARTITIONS)]
        self._ended = SortedPartitions(redis, self._ended_keys)

    async def waiting(self, *, passing_over: Collection[CallId]) -> Waiting:
        """See the port; at most `_SHARE` calls of each partition."""
        beside = Counter(call_partition(call_id) for call_id in passing_over)
        with unavailable_when_away():
            now_ms = await store_ms(self._redis)
            # As many more as are passed over, so that these cannot hide the others.
            shares = [_SHARE + beside[n] for n in range(CALL_PARTITIONS)]
            replies = await self._ended.first(shares if beside else _SHARE)
            total = sum(map(len, replies))
            full = [n for n, reply in enumerate(replies) if len(reply) == shares[n]]
            if full:
                sizes = await ask_each(self._redis, full, lambda pipe, n: pipe.zcard(self._ended_keys[n]))
                total += sum(sizes) - sum(shares[n] for n in full)
        found = sorted((int(score), CallId(member.decode())) for reply in replies for member, score in reply)
        calls = [WaitingCall(call_id, since) for since, call_id in found if call_id not in passing_over]
        return Waiting(calls, total, now_ms)

    async def load(self, call_ids: Sequence[CallId]) -> Loaded:
        with unavailable_when_away():
            records = await ask_each(
                self._redis,
                call_ids,
                lambda pipe, call_id: pipe.hmget(self._keys.call(call_id), "rev", "payload"),
            )
            # After the records: a call that is still on the list now was on it when its record was read.
            waits = await ask_each(
                self._redis,
                call_ids,
                lambda pipe, call_id: pipe.zscore(self._ended_keys[call_partition(call_id)], call_id),
            )
        calls: list[StoredCall] = []
        lost: list[CallId] = []
        unreadable: list[CallId] = []
        for call_id, row, score in zip(call_ids, records, waits, strict=True):
            if score is None:
                continue
            if row[0] is None:
                lost.append(call_id)
                continue
            try:
                calls.append(_stored(*row))
            except msgspec.MsgspecError:
                unreadable.append(call_id)
        return Loaded(calls, lost, unreadable)

    async def release(self, recorded: Sequence[StoredCall]) -> int:
        return await self._take_off({one.call.call_id: one.rev for one in recorded})

    async def forget(self, lost: Sequence[CallId]) -> None:
        await self._take_off(dict.fromkeys(lost, ""))

    async def _take_off(self, revs: Mapping[CallId, str]) -> int:
        with unavailable_when_away():
            async with self._redis.pipeline(transaction=False) as pipe:
                for call_id, rev in revs.items():
                    await self._recorded(
                        keys=[self._keys.call(call_id), self._ended_keys[call_partition(call_id)]],
                        args=[call_id, rev, READABLE_AFTER_MS],
                        client=pipe,
                    )
                return sum(await pipe.execute())


def _stored(rev: bytes, payload: bytes) -> StoredCall:
    return StoredCall(decode(payload), rev.decode())


def _deadline_of(call: Call) -> int:
    if call.next_deadline_at is None:
        raise ValueError(f"call {call.call_id} in {call.state} has no deadline: nothing would ever end it")
    return call.next_deadline_at


def _new_rev() -> str:
    return token_hex(_REV_BYTES)


if TYPE_CHECKING:  # says that the ports are met; the owners of the ports never import this module
    _fits_hub: type[CallStore] = RedisCallStore
    _fits_matchmaker: type[CallStages] = RedisCallStore
    _fits_recorder: type[EndedCalls] = RedisEndedCalls
