"""One call from `match.found` to `call.ended`, as one of the two lives it.

Reacts to what the hub tells, as an app does, and acts by its plan once the call is live. Media there is none: what a
browser would make of it is canned, and `call.media connected` is said when the answer has passed.
"""

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final

import gevent

from loadtests.crowd.asking import Asker
from loadtests.crowd.plans import Plan
from loadtests.swarm import canned
from loadtests.swarm.wire import Message

SILENCE_S: Final = 60.0
"""A call in which nothing happens for so long is stuck. Longer than any timer that is not the clock's own."""
_LATE_CANDIDATES: Final = 6
_OFFLINE_S: Final = 0.3


class Stuck(Exception):
    """Nothing comes any more, though the call is not over."""


class Conversation:
    """A call; `run` returns when it is over for this person."""

    def __init__(self, asker: Asker, plan: Plan, found: Message, token: str) -> None:
        self._asker = asker
        self._client = asker.client
        self._report = asker.report
        self._plan = plan
        self._token = token
        self.call_id: str = found["call_id"]
        self._seat: str = found["seat"]
        self._role: str = found["role"]
        self._offerer: bool = found["offerer"]
        self._negotiation = 0
        self._video_section = False
        self._video = {"a": False, "b": False}
        self._asked_video = self._was_live = self._claimed_media = False
        self._set_up_began = 0.0
        self._until = time.monotonic() + SILENCE_S
        self._current = ("self", 0)
        self._candidates = itertools.count()
        self._awaited: dict[str, float] = {}
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.connection_id: str | None = None
        """Where the two stay in touch, once it is known."""
        self.ended: Message | None = None
        self.ended_at = 0.0

    def run(self) -> Message:
        """Lives through the call; the data of `call.ended`. Raises: RequestRefused, Closed, TimeoutError, Stuck."""
        self._ask("call.decline" if self._plan.declines else "call.accept")
        while self.ended is None:
            now = time.monotonic()
            due_at = self._agenda[0][0] if self._agenda else self._until
            if due_at <= now and self._agenda:
                heapq.heappop(self._agenda)[2]()
                continue
            message = self._client.next(max(0.0, min(due_at, self._until) - now))
            if message is not None:
                self._until = max(self._until, time.monotonic() + SILENCE_S)
                self._hear(message["type"], message.get("data") or {}, message["arrived"])
            elif time.monotonic() >= self._until:
                raise Stuck(f"call {self.call_id} neither goes on nor ends")
        return self.ended

    def _hear(self, type_: str, data: Message, arrived: float) -> None:
        if data.get("call_id") != self.call_id:
            return
        match type_:
            case "call.state":
                self._draw(data)
            case "call.ice_servers":
                self._set_up_began = time.perf_counter()
                if self._offerer:
                    self._offer()
            case "call.offer":
                self._answer(data)
            case "call.answer":
                self._current = (data["of"], data["negotiation"])
                self._media_flows()
            case "call.candidates":
                self._take_candidates(data, arrived)
            case "call.reset":
                self._claimed_media = self._video_section = False
                if self._offerer:
                    self._offer()
            case "video.requested":
                if self._plan.approves is None:
                    self._ask("video.deny")
                elif self._ask("video.approve", direction=self._plan.approves) and self._plan.revokes:
                    self._later(1.0, self._revoke)
            case "video.allowed":
                self._video = data["video_allowed"]
                if self._asked_video:
                    self._offer(with_video=True)
            case "video.revoked":
                self._video = data["video_allowed"]
            case "call.extend.requested":
                self._ask("call.extend.reply", accept=self._plan.agrees_to_extend)
            case "connect.prompt":
                self._ask("connect.request" if self._plan.connects else "connect.pass")
            case "connection.made":
                self.connection_id = data["connection_id"]
            case "call.ended":
                self.ended, self.ended_at = data, arrived

    def _draw(self, view: Message) -> None:
        self._video = view["video_allowed"]
        if view["ends_at"] is not None:
            # The clock may be the only thing that still comes.
            ends_in_s = (view["ends_at"] - view["server_now"]) / 1000
            self._until = max(self._until, time.monotonic() + ends_in_s + SILENCE_S)
        if view["state"] == "live" and not self._was_live:
            self._was_live = True
            self._report.took("journey", "call set-up", (time.perf_counter() - self._set_up_began) * 1000)
            self._plan_ahead()

    def _plan_ahead(self) -> None:
        plan = self._plan
        asks = self._role == "guest" or (self._role == "mutual" and self._seat == "b")
        if self._offerer:
            for number in range(1, _LATE_CANDIDATES + 1):
                self._later(0.25 * number, self._send_candidate)
        if plan.asks_video and asks:
            self._later(0.5, self._request_video)
        if plan.extends:
            self._later(0.8, lambda: self._ask("call.extend"))
        if plan.drops:
            self._later(1.2, self._lose_network)
        if plan.hangs_up_after_s is not None:
            self._later(plan.hangs_up_after_s, lambda: self._ask("call.hangup"))

    def _request_video(self) -> None:
        self._asked_video = self._ask("video.request")

    def _revoke(self) -> None:
        if any(self._video.values()) and self._ask("video.revoke"):
            self._video = {"a": False, "b": False}
            self._offer(with_video=self._video_section)

    def _lose_network(self) -> None:
        self._client.drop()
        gevent.sleep(_OFFLINE_S)
        began = time.perf_counter()
        resumed = self._client.resume(self._token)
        ms = (time.perf_counter() - began) * 1000
        if not resumed:
            error = Stuck("the session was gone")
            self._report.failed("journey", "resume", ms, error)
            raise error
        self._report.took("journey", "resume", ms)

    # Negotiation.

    def _offer(self, *, with_video: bool = False) -> None:
        self._negotiation += 1
        sdp = canned.describe(self._direction() if with_video else None)
        self._video_section = with_video
        if self._ask("call.offer", negotiation=self._negotiation, sdp=sdp):
            self._current = ("self", self._negotiation)
            self._send_candidate(complete=True)

    def _answer(self, offer: Message) -> None:
        self._video_section = canned.has_video(offer["sdp"])
        sdp = canned.describe(self._direction() if self._video_section else None)
        number = offer["negotiation"]
        if self._ask("call.answer", negotiation=number, of="peer", sdp=sdp):
            self._current = ("peer", number)
            self._media_flows()

    def _media_flows(self) -> None:
        if not self._claimed_media:
            self._claimed_media = self._ask("call.media", state="connected")

    def _take_candidates(self, data: Message, arrived: float) -> None:
        """The peer sends every candidate back, so that its way there and back can be timed."""
        if not data["candidates"]:
            return  # all of them would have named an address that the intent hides
        sent_at = [self._awaited.pop(item["candidate"], None) for item in data["candidates"]]
        if sent_at[0] is not None:
            self._report.took("journey", "relay round trip", (arrived - sent_at[0]) * 1000)
            return
        back = {name: data[name] for name in ("negotiation", "of", "candidates", "complete")}
        self._ask("call.candidates", **back)

    def _send_candidate(self, *, complete: bool = False) -> None:
        of, number = self._current
        candidate = canned.candidate(next(self._candidates), self._seat)
        self._awaited[candidate["candidate"]] = time.perf_counter()
        self._ask("call.candidates", negotiation=number, of=of, candidates=[candidate], complete=complete)

    def _direction(self) -> str:
        other = "b" if self._seat == "a" else "a"
        return canned.direction(sends=self._video[self._seat], receives=self._video[other])

    # Steps.

    def _ask(self, type_: str, **data: object) -> bool:
        """Whether it was done."""
        return self._asker.ask(type_, {"call_id": self.call_id, **data}) is not None

    def _later(self, seconds: float, step: Callable[[], object]) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._order), step))
