"""Sign-outs and bans as they reach the sessions of a node, also those that the store has lost."""

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from accounts.model import Identity, Revocation, Role, Standing
from base.clock import ManualClock, ServerClock
from base.errors import CloseCode, Unavailable
from base.ids import DeviceId, SessionId
from base.policy import Gender
from signaling.control import Control
from signaling.hub import Hub
from signaling.live_session import LiveSession
from signaling.metrics import SessionMetrics
from signaling.protocol.codec import JSON
from signaling.session.limits import SessionLimits
from signaling.session.session import Session
from signaling.session_shell import SessionShell
from tests.unit.signaling.hub.live_scene import Services

NOW = 1_700_000_000_000
LIFE_MS = 900_000


class Store:
    """The log and the list, as the test fills them."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Revocation]] = []
        self.restored: list[Revocation] = []
        self.asked_since: list[str] = []
        self.away = False

    async def tail(self) -> str:
        self._answer()
        return self.log[-1][0] if self.log else "0-0"

    async def read_since(self, cursor: str, *, count: int = 1_000) -> tuple[str, Sequence[Revocation]]:
        self._answer()
        self.asked_since.append(cursor)
        found = [(at, entry) for at, entry in self.log if _place(at) > _place(cursor)][:count]
        return (found[-1][0] if found else cursor), [entry for _, entry in found]

    async def restore(self, entries: Sequence[Revocation]) -> None:
        self._answer()
        self.restored += entries

    async def standing(self, identity: Identity) -> Standing:
        self._answer()
        return {"gone": Standing.REVOKED, "new": Standing.UNKNOWN}.get(identity.user_id, Standing.GOOD)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable


class Archive:
    """What was taken back for good."""

    def __init__(self) -> None:
        self.entries: list[Revocation] = []
        self.asked_since: list[int] = []
        self.away = False

    async def revoked_since(self, since_ms: int) -> Sequence[Revocation]:
        if self.away:
            raise Unavailable
        self.asked_since.append(since_ms)
        return self.entries


class Health:
    """The store, as the lease knows it."""

    def __init__(self) -> None:
        self.lost_unnoticed = False
        self.restoring = 0
        self.checks = 0

    def restoring_ms(self) -> int:
        return self.restoring

    async def check(self) -> None:
        self.checks += 1
        if self.lost_unnoticed:
            self.restoring = 2_000


class House:
    """A node with sessions."""

    def __init__(self) -> None:
        self.machine = ManualClock(NOW)
        self.clock = ServerClock(self.machine)
        self.metrics = SessionMetrics(CollectorRegistry())
        self.hub = Hub(self.clock, self.metrics)
        self.store, self.archive = Store(), Archive()
        self.health = Health()
        self.control = Control(
            self.hub, self.store, self.archive, self.clock, self.health, token_life_ms=LIFE_MS
        )
        self.rebuilt: list[int] = []
        self.control.rebuilt = self.rebuilt.append

    async def look(self) -> None:
        """What the node does twice a second."""
        await self.control.rebuild()
        await self.control.follow()

    def session(self, user: str, *, family: str = "family", issued_at_ms: int = NOW - 1) -> LiveSession:
        services, limits = Services(), SessionLimits()
        shell = SessionShell(self.clock, limits, services, services, self.metrics, False, self.hub.standstill)
        identity = _identity(user, family, issued_at_ms)
        session = Session(SessionId(f"session-{user}-{family}-{issued_at_ms}"), JSON, limits, NOW)
        live = LiveSession(shell, session, identity, DeviceId(f"{family} {issued_at_ms}"), 1)
        self.hub.add(live)
        return live


@pytest.fixture
def house() -> House:
    return House()


async def test_what_stands_in_the_log_ends_the_sessions_that_it_concerns(house: House) -> None:
    """All of a user up to a moment, or those of one sign-in; from now on, not from before the node began to read."""
    await house.look()
    ann, ann_later = house.session("ann"), house.session("ann", issued_at_ms=NOW)
    bob, bob_too = house.session("bob", family="one"), house.session("bob", family="two")
    house.store.log += [
        ("1-0", Revocation("ann", None, NOW, "logout_all")),
        ("2-0", Revocation("bob", "one", NOW, "logout")),
    ]
    await house.look()

    assert [live.is_over for live in (ann, ann_later, bob, bob_too)] == [True, False, True, False]


async def test_each_sign_out_says_how_late_it_came_and_says_so_once(house: House) -> None:
    """After a loss the end of the log is read again: that would look as if everything had been slow."""
    late: list[float] = []
    house.control.acted = late.append
    await house.look()
    house.store.log.append((f"{NOW}-0", Revocation("ann", None, NOW, "ban")))
    house.machine.advance(0.75)
    await house.look()
    house.machine.advance(5)
    assert house.control.unread_s() == 5
    await house.control.forget()
    await house.look()

    assert late == [0.75]
    assert house.control.unread_s() == 0
    assert len(house.store.asked_since) == 3


async def test_who_was_let_in_before_a_sign_out_and_added_after_it_is_not_forgotten(house: House) -> None:
    """Its token was good when it was looked at. Whoever signs in again afterwards, or on another device, stays."""
    await house.look()
    house.store.log += [
        ("1-0", Revocation("ann", "phone", NOW, "logout")),
        ("2-0", Revocation("bob", None, NOW, "ban")),
    ]
    await house.look()
    phone, laptop = house.session("ann", family="phone"), house.session("ann", family="laptop")
    bob, bob_again = house.session("bob"), house.session("bob", issued_at_ms=NOW)
    assert (phone.is_over, phone.ended_with) == (True, CloseCode.REVOKED)
    assert (bob.is_over, bob.ended_with) == (True, CloseCode.BANNED)
    assert [live.is_over for live in (laptop, bob_again)] == [False, False]


async def test_a_crowd_of_sign_outs_is_read_to_its_end(house: House) -> None:
    """In parts, but at once: the last of them must not wait for another second."""
    await house.look()
    live = house.session("user-2500")
    house.store.log += [
        (f"{number}-0", Revocation(f"user-{number}", None, NOW, "ban")) for number in range(1, 2_501)
    ]
    await house.look()

    assert live.is_over


async def test_after_a_loss_nobody_is_let_in_until_the_archive_was_asked(house: House) -> None:
    """Then the store knows it again, and the sessions end whose sign-out was lost before it was heard."""
    await house.look()
    ann, bob = house.session("ann"), house.session("bob")
    house.archive.entries = [Revocation("ann", None, NOW, "ban")]
    await house.control.forget()
    unknown_ms = house.control.unknown_for_ms()
    with pytest.raises(Unavailable) as refused:
        await house.control.is_revoked(_identity("bob"))
    await house.look()

    assert refused.value.retry_after_ms == unknown_ms > 0
    assert (ann.is_over, bob.is_over) == (True, False)
    assert house.store.restored == house.archive.entries
    assert house.archive.asked_since == [NOW - LIFE_MS]
    assert house.rebuilt == [1]
    assert not await house.control.is_revoked(_identity("bob"))
    assert await house.control.is_revoked(_identity("gone"))


@pytest.mark.parametrize("away", ["archive", "store"])
async def test_as_long_as_nobody_can_be_asked_nobody_is_let_in(house: House, away: str) -> None:
    """Both have to be there once; but no longer than a token of before the loss could still be good."""
    await house.look()
    await house.control.forget()
    getattr(house, away).away = True
    with pytest.raises(Unavailable):
        await house.look()
    unknown_ms = house.control.unknown_for_ms()
    house.machine.advance(LIFE_MS / 1000 + 1)

    assert unknown_ms > 0
    assert house.control.unknown_for_ms() == 0
    assert house.rebuilt == []


async def test_new_sign_outs_are_heard_of_while_old_ones_cannot_be_looked_up(house: House) -> None:
    """The database is away after a loss: what is taken back now takes effect within a second all the same."""
    watching = asyncio.create_task(house.control.watch())
    await asyncio.sleep(0.05)
    ann = house.session("ann")
    house.archive.away = True
    await house.control.forget()
    house.store.log.append(("1-0", Revocation("ann", None, NOW, "ban")))
    async with asyncio.timeout(30):
        while not ann.is_over:
            await asyncio.sleep(0.02)
    watching.cancel()

    assert house.control.unknown_for_ms() > 0


async def test_after_a_loss_the_log_is_read_from_before_it(house: House) -> None:
    """A server that took over may have a clock that is behind: its entries would stand before our place."""
    house.store.log.append((f"{NOW + 60_000}-0", Revocation("nobody", None, NOW, "ban")))
    await house.look()
    house.store.log = [(f"{NOW - 2_000}-0", Revocation("ann", None, NOW, "ban"))]
    ann = house.session("ann")
    await house.control.forget()
    await house.look()

    assert ann.is_over


async def test_a_second_loss_while_the_first_is_looked_up_is_looked_up_too(house: House) -> None:
    """What was put back may be gone again."""
    await house.look()
    restore = house.store.restore

    async def interrupted(entries: Sequence[Revocation]) -> None:
        house.store.restore = restore  # type: ignore[method-assign]  # as before
        house.machine.advance(0.1)
        await house.control.forget()

    house.store.restore = interrupted  # type: ignore[method-assign]  # loses everything again
    await house.control.forget()
    await house.look()
    after_first = house.control.unknown_for_ms()
    await house.look()

    assert after_first > 0
    assert house.control.unknown_for_ms() == 0
    assert house.rebuilt == [0, 0]


async def test_a_user_of_whom_the_store_knows_nothing_may_be_one_whom_it_has_forgotten(house: House) -> None:
    """Emptied a moment ago, and nobody has noticed: it is looked at before somebody is let in by it."""
    first = await house.control.is_revoked(_identity("new"))
    house.health.lost_unnoticed = True
    known = await house.control.is_revoked(_identity("ann"))
    with pytest.raises(Unavailable) as refused:
        await house.control.is_revoked(_identity("new"))

    assert (first, known) == (False, False)
    assert refused.value.retry_after_ms == 2_000
    assert house.health.checks == 2


def _identity(user: str, family: str = "family", issued_at_ms: int = NOW - 1) -> Identity:
    return Identity(user, Role.USER, Gender.FEMALE, family, issued_at_ms, issued_at_ms + LIFE_MS)


def _place(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
