"""One call as one of the two lives it, from `match.found` to `call.ended`.

Reacts to what the server tells, as an app does, and acts by a plan drawn beforehand. There is no media: a browser's part
is canned, and `call.media connected` is said when an answer has passed. What a browser would do by itself when the network
comes and goes is done here too: media that was up stays up, and is reported again.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from loadtests.swarm import canned
from tests.chaos.history import video_of
from tests.chaos.swarm_device import Message
from tests.chaos.swarm_world import Habits

MEDIA_STATES: Final = frozenset(("connecting", "live", "reconnecting"))
_STUCK_S: Final = 7.0
"""An offer that is neither answered nor given up for so long was lost: media has to begin anew."""

_GIVES_UP_AFTER: Final = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """What somebody will do in a call, whatever the other does."""

    takes_it: bool
    declines: bool
    hangs_up_after_s: float | None
    asks_video: bool
    approves: bool
    approves_both: bool
    revokes_after_s: float | None
    extends: bool
    agrees_to_extend: bool
    connects: bool
    connects_early: bool
    blocks: bool


def draw_plan(rng: random.Random, habits: Habits) -> Plan:
    """A plan by habits; the same for the same random numbers."""
    answer = rng.random()
    return Plan(
        takes_it=answer >= habits.declines + habits.never_answers,
        declines=answer < habits.declines,
        hangs_up_after_s=rng.uniform(0.2, 4.0) if rng.random() < habits.hangs_up else None,
        asks_video=rng.random() < habits.asks_video,
        approves=rng.random() < habits.approves,
        approves_both=rng.random() < 0.6,
        revokes_after_s=rng.uniform(0.3, 2.0) if rng.random() < habits.revokes else None,
        extends=rng.random() < habits.extends,
        agrees_to_extend=rng.random() < 0.7,
        connects=rng.random() < habits.connects,
        connects_early=rng.random() < 0.3,
        blocks=rng.random() < habits.blocks,
    )


class Speaker(Protocol):
    """Who is in the call."""

    async def ask(self, type_: str, data: Message, wanted: Callable[[], bool]) -> Message | None:
        """Asks until it is done or refused for good, as long as it is wanted; None where it was not done."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something beside."""
        ...

    def gives_up(self, call_id: str) -> None:
        """The server neither lets us leave the call nor says that it is over."""
        ...


class Conversation:
    """A call of one person; `over` once it is."""

    def __init__(self, speaker: Speaker, plan: Plan, found: Message, *, first_number: int = 0) -> None:
        self._speaker = speaker
        self._plan = plan
        self.id: str = found["call_id"]
        self.intent: str = found["intent"]
        self.seat: str = found["seat"]
        self.role: str = found["role"]
        self.state = "proposed"
        self.version = -1
        self.over = False
        self.requeued = False
        self._allowed = {"a": False, "b": False}
        self._numbers = first_number
        self._open: int | None = None
        """The number of our offer that nobody has answered yet."""
        self._has_section = False
        self._media_up = False
        self._has_servers = False
        self._was_live = False
        self._candidates = 0
        self._home = False

    @property
    def is_urgent(self) -> bool:
        """Whether the other side waits for us."""
        return not self.over and self.state != "deciding"

    def begin(self) -> None:
        """Answers the proposal."""
        if self._plan.declines or self._home:
            self._do("call.decline", lambda: self.state == "proposed")
        elif self._plan.takes_it:
            self._do("call.accept", lambda: self.state == "proposed")

    def go_home(self) -> None:
        """Ends it as soon as may be; whatever the plan said."""
        if self._home:
            return
        self._home = True
        self._speaker.spawn(self._leave())

    def finish(self) -> None:
        self.over = True
        self.state = "ended"

    # What the server tells.

    def restore(self, view: Message) -> None:
        """The call as a snapshot has it: what we knew before is replaced."""
        self.version = -1
        self._draw(view)
        if self.state in MEDIA_STATES and not self._has_servers:
            self._speaker.spawn(self._ask_servers())
        self.reattached()

    def reattached(self) -> None:
        """There is a socket again: the server may want to hear how media is."""
        if self._media_up and self.state in MEDIA_STATES:
            self._report()

    def rejoin(self) -> None:
        """We know nothing of a call that was there before us: media has to begin anew."""
        self._do("call.media", self._in_media, state="failed")

    def hear(self, type_: str, data: Message) -> None:
        match type_:
            case "call.state":
                self._draw(data)
            case "call.ice_servers":
                self._has_servers = True
                self._offer_first()
            case "call.offer":
                self._heard_offer(data)
            case "call.answer":
                if data["of"] == "self" and data["negotiation"] == self._open:
                    self._open = None
                    self._media_flows()
            case "call.negotiation_failed":
                if data["of"] == "self" and data["negotiation"] == self._open:
                    self._open = None
                    self._later(0.3, self._offer_again)
            case "call.reset":
                self._open, self._media_up, self._has_section = None, False, False
                self._offer_first()
            case "video.requested":
                self._speaker.spawn(self._answer_request())
            case "video.allowed":
                self._allow(data["video_allowed"])
                self._offer_video()
            case "video.revoked":
                self._allow(data["video_allowed"])
            case "call.extend.requested":
                self._do("call.extend.reply", self._is_live, accept=self._plan.agrees_to_extend)
            case "connect.prompt":
                self._decide()
            case "call.ended":
                self.requeued = data["requeued"]
                self.finish()

    def _draw(self, view: Message) -> None:
        if view["version"] <= self.version or self.over:
            return
        self.version = view["version"]
        before, self.state = self.state, view["state"]
        self._allow(view["video_allowed"])
        if self.state == "ended":
            # The word of the end follows, where it is not said here.
            return
        if self.state == "live" and not self._was_live:
            self._was_live = True
            self._plan_ahead()
        if self.state == "reconnecting" and before != "reconnecting" and self._media_up:
            self._report()
        if self.state == "deciding" and before != "deciding" and self.role != "guest":
            self._later(1.0, self._decide)

    def _allow(self, allowed: Message) -> None:
        self._allowed = {seat: bool(allowed.get(seat)) for seat in "ab"}

    # What the plan says.

    def _plan_ahead(self) -> None:
        plan = self._plan
        if plan.asks_video and self.role != "controller":
            self._later(0.3, lambda: self._do("video.request", self._is_live))
        if plan.extends:
            self._later(0.8, lambda: self._do("call.extend", self._is_live))
        if plan.connects and plan.connects_early and self.role != "guest":
            self._later(1.2, lambda: self._do("connect.request", self._in_talk))
        if plan.hangs_up_after_s is not None:
            self._later(plan.hangs_up_after_s, self._hang_up)
        if plan.blocks:
            self._later(1.5, lambda: self._do("safety.block", lambda: not self.over))
        for number in range(3):
            self._later(0.2 + number / 2, self._say_candidate)

    async def _answer_request(self) -> None:
        if not self._plan.approves:
            self._do("video.deny", self._is_live)
            return
        direction = "both" if self._plan.approves_both else "receive"
        done = await self._ask("video.approve", self._is_live, direction=direction)
        if done is not None and self._plan.revokes_after_s is not None:
            self._later(self._plan.revokes_after_s, self._revoke)

    def _revoke(self) -> None:
        if not any(self._allowed.values()) or not self._in_talk():
            return
        self._allowed = {"a": False, "b": False}
        self._do("video.revoke", self._in_talk)
        if self._has_section:
            # Video has to be off within the policy's window, so nothing waits for anything.
            self._offer()

    def _hang_up(self) -> None:
        self._do("call.hangup", lambda: not self.over and self.state != "deciding")

    def _decide(self) -> None:
        if self.over or self.state != "deciding" or self.role == "guest":
            return
        wanted = self._plan.connects and not self._home
        self._do(
            "connect.request" if wanted else "connect.pass",
            lambda: self.state == "deciding" and not self.over,
        )

    async def _leave(self) -> None:
        refused = 0
        while not self.over and refused < _GIVES_UP_AFTER:
            if self.state == "deciding":
                done = await self._ask("connect.pass", lambda: self.state == "deciding" and not self.over)
            else:
                done = await self._ask("call.hangup", lambda: not self.over and self.state != "deciding")
            refused += done is None
            await asyncio.sleep(1.0)
        if not self.over:
            self._speaker.gives_up(self.id)

    # Negotiation.

    def _offer_first(self) -> None:
        if self.seat == "a":
            self._offer()

    def _offer_again(self) -> None:
        if self._open is None and self._in_media():
            self._offer()

    def _offer_video(self) -> None:
        """Seat `a` where it may send, else `b`: so no two offers meet."""
        if self._allowed["a"] if self.seat == "a" else self._allowed["b"] and not self._allowed["a"]:
            self._has_section = True
            self._offer()

    def _offer(self) -> None:
        self._speaker.spawn(self._make_offer())

    async def _make_offer(self) -> None:
        while self._in_media():
            self._numbers += 1
            number = self._open = self._numbers
            done = await self._once("call.offer", negotiation=number, sdp=canned.describe(self._direction()))
            if done is not None:
                await self._send_candidates("self", number)
                await asyncio.sleep(_STUCK_S)
                if self._open == number and self._in_media():
                    self._do("call.media", self._in_media, state="failed")
                return
            if self._open != number:
                return
            self._open = None
            await asyncio.sleep(0.5)
            if self._open is not None or (self._media_up and not self._has_section):
                return

    def _heard_offer(self, offer: Message) -> None:
        if self._open is not None:
            if self.seat == "a":
                return  # the other side is polite, and rolls back
            self._open = None
        self._speaker.spawn(self._answer(offer))

    async def _answer(self, offer: Message) -> None:
        number = offer["negotiation"]
        offered = video_of(offer["sdp"])
        self._has_section = canned.has_video(offer["sdp"])
        direction = self._direction(offered) if self._has_section else None
        sdp = canned.describe(direction)
        done = await self._once("call.answer", negotiation=number, of="peer", sdp=sdp)
        if done is not None:
            self._media_flows()
            await self._send_candidates("peer", number)

    def _direction(self, offered: str | None = "sendrecv") -> str | None:
        """What our video section does: no more than is allowed, nor than was offered."""
        if not self._has_section:
            return None
        other = "b" if self.seat == "a" else "a"
        sends = self._allowed[self.seat] and offered in ("sendrecv", "recvonly")
        receives = self._allowed[other] and offered in ("sendrecv", "sendonly")
        return canned.direction(sends=sends, receives=receives)

    async def _send_candidates(self, of: str, number: int) -> None:
        self._candidates += 1
        candidate = canned.candidate(self._candidates, self.seat)
        await self._once("call.candidates", negotiation=number, of=of, candidates=[candidate], complete=True)

    def _say_candidate(self) -> None:
        if self._in_media() and self._open is None and self.seat == "a" and self._numbers:
            self._speaker.spawn(self._send_candidates("self", self._numbers))

    def _media_flows(self) -> None:
        if not self._media_up:
            self._media_up = True
            self._report()

    def _report(self) -> None:
        self._do("call.media", lambda: self._media_up and self._in_media(), state="connected")

    async def _ask_servers(self) -> None:
        if await self._ask("call.ice_servers", self._in_media) is not None and not self._has_servers:
            self._has_servers = True
            if not self._numbers:
                self._offer_first()

    # Steps.

    def _is_live(self) -> bool:
        return self.state == "live" and not self.over

    def _in_talk(self) -> bool:
        return self.state in ("live", "reconnecting") and not self.over

    def _in_media(self) -> bool:
        return self.state in MEDIA_STATES and not self.over and not self._home

    async def _ask(self, type_: str, wanted: Callable[[], bool], **data: Any) -> Message | None:
        return await self._speaker.ask(type_, {"call_id": self.id, **data}, wanted)

    async def _once(self, type_: str, **data: Any) -> Message | None:
        asked = iter((True,))
        return await self._ask(type_, lambda: next(asked, False), **data)

    def _do(self, type_: str, wanted: Callable[[], bool], **data: Any) -> None:
        async def do() -> None:
            await self._ask(type_, wanted, **data)

        self._speaker.spawn(do())

    def _later(self, seconds: float, step: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            if not self.over and not self._home:
                step()

        self._speaker.spawn(wait())
