"""The calls that this node takes part in, as it knows them right now.

Decides what the node acts on: the stored record, narrowed by restrictions that are told but not committed yet, and by
those that were committed and told but that the store has lost since. Knows what each seat's session was told last.
"""

import asyncio
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from base.clock import ServerClock
from base.ids import CallId, UserId
from base.policy import IntentPolicy, IpPrivacy
from signaling.budget import Budget
from signaling.call.events import Event, HungUp, VideoRevoked
from signaling.call.merge import lacks, last_revoked_at, reconcile
from signaling.call.record import Call, ConsentKind
from signaling.call.rules import restrict
from signaling.call.states import RELAYING, SEATS, Seat, State, other
from signaling.negotiation import Negotiations
from signaling.ports import StoredCall
from signaling.sdp import Allowance
from signaling.ways import Way

KEPT_AFTER_END_MS = 60_000
KEPT_UNTOUCHED_MS = 3_600_000
_LOOK_EVERY_MS = 10_000


@dataclass(frozen=True, slots=True)
class Owed:
    """A restriction that was told at `told_at` (Unix ms), and waits for the store."""

    event: Event
    told_at: int
    told: Call
    """The call as it was told to be."""

    def is_due(self, call: Call) -> bool:
        """Whether a record lacks what was told; what was given since does not count."""
        pending = call.video_request
        if isinstance(self.event, VideoRevoked) and pending is not None and pending.by == self.event.seat:
            return True
        return lacks(call, self.told)

    def upon(self, call: Call) -> Call:
        """What it leaves of a call, as of the moment in which it was told."""
        if not self.is_due(call):
            return call
        at = max(self.told_at, call.live_since or 0)
        narrowed = restrict(call, self.event, at)
        if not lacks(narrowed, self.told):
            return narrowed
        # What somebody else stored first leaves the event no meaning, or another one.
        return msgspec.structs.replace(reconcile(self.told, narrowed, at), version=call.version)


class LocalCall:
    """One call: what is stored, what this node acts on, its open negotiations and what may still be sent in it."""

    __slots__ = (
        "_hides_addresses",
        "_timed",
        "_timer_at",
        "bound",
        "budgets",
        "lock",
        "lost",
        "negotiations",
        "owed",
        "revoked_at",
        "shown",
        "stored",
        "view",
        "ways",
    )

    def __init__(self, stored: StoredCall, *, hides_addresses: bool = False) -> None:
        self._hides_addresses = hides_addresses
        self.stored = stored = self._understood(stored)
        self.view: Call = stored.call
        # The earliest timer of the view that was looked at last: each description asks for it.
        self._timed: Call | None = None
        self._timer_at: int | None = None
        self.ways: dict[Hashable, Way] = {}
        """By the session that relays, or, of what comes from another node, by its sender's seat. Each holds for one view."""
        self.lock = asyncio.Lock()
        """Commands of this node on this call run one at a time; other nodes are met at the commit."""
        self.negotiations = self._fresh_negotiations()
        policy = stored.call.policy
        self.budgets = {seat: Budget(policy, stored.call.seat(seat).signaling_spent) for seat in SEATS}
        """By seat, and not by session: who comes back finds what is left."""
        self.bound: list[Event] = []
        """Restrictions that hold here while they are being committed."""
        self.owed: list[Owed] = []
        """What holds here and waits for the store, in the order in which it was told."""
        self.revoked_at = 0
        """When somebody revoked last, as far as this node knows: a yes that is older, and comes later, does not count."""
        self.lost: StoredCall | None = None
        """The record that was told here, where the store has forgotten an end or a revocation that is in it."""
        self.shown: dict[Seat, Call] = {}
        """What the session of each seat that is here was told last."""

    @property
    def id(self) -> CallId:
        return self.stored.call.call_id

    def take(self, stored: StoredCall, now_ms: int, *, from_store: bool = False) -> None:
        """Goes on from a newer record; what is owed holds on, and so does what the new one has lost.

        An older record is old news, unless it comes `from_store` itself: then the store has lost the newer one.
        """
        known = self.lost or self.stored
        if stored.rev == known.rev:
            self.lost = None
        elif not from_store and stored.call.version <= self.stored.call.version:
            return
        else:
            # Of another past, the new record may be as strict and not know why.
            self.revoked_at = max(self.revoked_at, last_revoked_at(known.call))
            behind = stored.call.version <= known.call.version
            self.lost = known if behind or lacks(stored.call, known.call, self.revoked_at) else None
        if stored.call.resets != self.stored.call.resets:
            self.negotiations = self._fresh_negotiations()
        self.stored = stored = self._understood(stored)
        for seat, budget in self.budgets.items():
            # What was sent elsewhere, before the seat came here.
            budget.spent = max(budget.spent, stored.call.seat(seat).signaling_spent)
        self._look_anew(now_ms)

    def hold_to(self, told: StoredCall | None, revoked_at: int, now_ms: int) -> None:
        """Upholds what another node told and the store has lost, as that node did until its session came here."""
        self.revoked_at = max(self.revoked_at, revoked_at)
        if told is None or self.lost is not None or told.rev == self.stored.rev:
            return
        behind = self.stored.call.version <= told.call.version
        if behind or lacks(self.stored.call, told.call, self.revoked_at):
            self.lost = told
            self._look_anew(now_ms)

    def bind(self, event: Event, now_ms: int) -> bool:
        """Holds the view to a restriction from now on, whatever is committed meanwhile; False where it restricts nothing."""
        narrowed = restrict(self.view, event, now_ms)
        if narrowed is self.view:
            return False
        self.view = narrowed
        self.ways.clear()
        self.bound.append(event)
        return True

    def release(self, event: Event, now_ms: int) -> None:
        """The end of `bind`: the restriction is part of the record, or was refused."""
        self.bound.remove(event)
        self._look_anew(now_ms)

    def owe(self, owed: Owed) -> None:
        """Holds the view to a restriction that was told, until it is `paid`."""
        self.owed.append(owed)
        self._look_anew(owed.told_at)

    def paid(self, owed: Owed, now_ms: int) -> None:
        """The end of `owe`; where the store has decided otherwise, the record lacks from now on what was told."""
        self.owed.remove(owed)
        if self.lost is None and lacks(self.stored.call, owed.told):
            self.lost = StoredCall(owed.told, "")
        self._look_anew(now_ms)

    def as_told(self) -> Call:
        """The record without what is still being committed: what sessions may be shown."""
        view = self.stored.call
        for owed in self.owed:
            view = owed.upon(view)
        return view

    def as_seen(self, event: Event) -> Event:
        """What somebody says, with what they saw of the call when they said it, where that makes a difference."""
        if not isinstance(event, HungUp) or event.passes is not None:
            return event
        seen = self.shown.get(event.seat) or self.as_told()
        return replace(event, passes=seen.state is State.DECIDING)

    def allowance(self, seat: Seat) -> Allowance:
        """What a description of this seat may do at this moment."""
        view = self.view
        return Allowance(
            send_video=view.seat(seat).video_allowed,
            receive_video=view.seat(other(seat)).video_allowed,
            data_channels=view.policy.data_channels,
        )

    @property
    def has_closed_something(self) -> bool:
        """Whether something was told to be over that must not be permitted again by a store's forgetting."""
        call = self.stored.call
        return call.state not in RELAYING or any(
            event.kind is ConsentKind.VIDEO_REVOKED for event in call.events
        )

    @property
    def video_flows(self) -> bool:
        """Whether there may be video to take out: negotiated, or taken back and not stopped yet."""
        view = self.view
        return (
            self.negotiations.has_video or view.a.video_off_at is not None or view.b.video_off_at is not None
        )

    @property
    def next_timer_at(self) -> int | None:
        """The earliest of the call's own timers and of its open offers, Unix ms."""
        view = self.view
        if self._timed is not view:
            self._timed, self._timer_at = view, view.next_deadline_at
        # Of offers that nobody can answer any more nobody hears.
        offers = self.negotiations.next_deadline_ms if view.state in RELAYING else None
        if offers is None or self._timer_at is None:
            return self._timer_at if offers is None else offers
        return min(offers, self._timer_at)

    def _look_anew(self, now_ms: int) -> None:
        view = self.stored.call
        if self.lost is not None:
            # Judged by, and never shown: so it keeps the version that other nodes know.
            strict = reconcile(self.lost.call, view, now_ms)
            view = msgspec.structs.replace(strict, version=view.version)
        for owed in self.owed:
            view = owed.upon(view)
        for event in self.bound:
            view = restrict(view, event, now_ms)
        self.view = view
        # Nor do they keep sessions that have left.
        self.ways.clear()

    def _understood(self, stored: StoredCall) -> StoredCall:
        """The record as this node takes it, where it says nothing of addresses.

        A process of the release before this rule commits without it, in the middle of a call too, and that must not
        show addresses which were hidden a moment ago. So silence means what was known of the call, or else what the intent
        is configured to; this node's next commit writes it down. A call whose people sit on such a process cannot
        connect by that, since they were told of no relay: rather none than one that says where they are.
        """
        policy = stored.call.policy
        self._hides_addresses |= policy.hides_addresses
        if policy.ip_privacy is not None or not self._hides_addresses:
            return stored
        policy = msgspec.structs.replace(policy, ip_privacy=IpPrivacy.RELAY)
        return replace(stored, call=msgspec.structs.replace(stored.call, policy=policy))

    def _fresh_negotiations(self) -> Negotiations:
        policy = self.stored.call.policy
        return Negotiations(round(policy.negotiation_s * 1000), policy.max_candidates)


class LocalCalls:
    """Calls by id.

    Ended ones stay for a minute, so that late messages get a true answer without a load. Those that nothing was heard
    of for an hour have moved to other nodes and are forgotten.
    """

    def __init__(self, clock: ServerClock, policies: Mapping[str, IntentPolicy] | None = None) -> None:
        self._clock = clock
        self._policies = policies or {}
        self._calls: dict[CallId, LocalCall] = {}
        self.get: Final = self._calls.get
        """The call of an id; None where it is not known here."""
        self._forget_at: dict[CallId, int] = {}
        self._look_at = 0

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[LocalCall]:
        return iter(tuple(self._calls.values()))

    def owes_release(self, user_id: UserId) -> bool:
        """Whether a user was told that a call is over which the store does not know to be over yet; looks at all calls."""
        return any(
            seat is not None and _is_over_for(call.view, seat) and not _is_over_for(call.stored.call, seat)
            for call in self._calls.values()
            for seat in (call.view.seat_of(user_id),)
        )

    def of(self, stored: StoredCall) -> LocalCall:
        """A call of this record that is not kept: acting on it must not make this node a host."""
        policy = self._policies.get(stored.call.intent)
        return LocalCall(stored, hides_addresses=policy is not None and policy.hides_addresses)

    def keep(self, stored: StoredCall, *, from_store: bool = False) -> LocalCall:
        """The local call of this record, made or brought up to date; `from_store` as in `LocalCall.take`."""
        call = self._calls.get(stored.call.call_id)
        if call is None:
            call = self.of(stored)
            self.adopt(call)
        elif stored.rev != call.stored.rev:
            call.take(stored, self._clock.now_ms(), from_store=from_store)
        ended = call.stored.call.state is State.ENDED
        now_ms = self._clock.monotonic_ms()
        self._forget_at[call.id] = now_ms + (KEPT_AFTER_END_MS if ended else KEPT_UNTOUCHED_MS)
        return call

    def adopt(self, call: LocalCall) -> None:
        """Keeps a call that was worked on without being kept."""
        self._forget_old()
        self._calls[call.id] = call

    def count_by_state(self) -> dict[str, int]:
        """The calls of this node by state, but the ended ones."""
        counts: dict[str, int] = {}
        for call in self._calls.values():
            if call.view.state is not State.ENDED:
                counts[call.view.state] = counts.get(call.view.state, 0) + 1
        return counts

    def _forget_old(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._look_at:
            return
        self._look_at = now_ms + _LOOK_EVERY_MS
        for call_id in [call_id for call_id, at in self._forget_at.items() if at <= now_ms]:
            del self._forget_at[call_id]
            self._calls.pop(call_id, None)


def _is_over_for(call: Call, seat: Seat) -> bool:
    return call.state is State.ENDED or call.seat(seat).freed
