"""A person's whole evening: come in, wait for somebody, talk, stay in touch, look at the history, leave."""

import time
from collections.abc import Callable
from typing import Final

import gevent

from loadtests.crowd.asking import Asker, Report
from loadtests.crowd.conversation import Conversation
from loadtests.crowd.correspondence import Correspondence, Rest
from loadtests.crowd.hub_client import HubClient
from loadtests.crowd.plans import Plan
from loadtests.swarm.wire import Message, RequestRefused

_GLANCE_S: Final = 0.5
_HISTORY_S: Final = 15.0
_HISTORY_PAUSE_S: Final = 0.5
_CONNECTION_S: Final = {"connected": 10.0, "completed": 2.0, "hangup": 2.0}
"""How long somebody waits to hear that the two stay in touch, by why the call has ended for them."""
_AWAY_S: Final = 1.5


class Forgotten(Exception):
    """What should have come of a call has not: it is not in the history, or nobody said where to write."""


class Evening:
    """One evening of one person with a client of their own. What goes wrong has been reported when it raises.

    At closing time nobody waits for a partner any more; who is in a call goes on to its end.
    """

    def __init__(
        self, client: HubClient, report: Report, rest: Rest, plan: Plan, *, closing_time: Callable[[], bool]
    ) -> None:
        self._client = client
        self._report = report
        self._rest = rest
        self._plan = plan
        self._closing_time = closing_time
        self._asker = Asker(client, report)
        self._waiting_since = 0.0

    def meet(self, intent: str, token: str) -> bool:
        """Looks for somebody and talks; whether there was a call."""
        began = time.perf_counter()
        self._come_in(token)
        call: Conversation | None = None
        if self._join(intent):
            call = self._talk(token)
        self._asker.ask("session.end")
        if call is None or call.ended is None:
            return False
        self._await_history(call.call_id)
        self._report.took("ended", call.ended["reason"], call.ended["duration_ms"])
        self._took("whole journey", began)
        return True

    def look_on(self, intent: str, token: str) -> None:
        """Sees who is there, queues, goes away, comes back, and leaves; takes a call that comes in between."""
        began = time.perf_counter()
        self._come_in(token)
        acquaintances = self._rest.call("GET", "/connections")
        if acquaintances:
            watched = [one["connection_id"] for one in acquaintances]
            self._asker.ask("presence.watch", {"connection_ids": watched})
        if self._join(intent):
            self._asker.ask("presence.set", {"away": True})
            found = self._next_match(time.monotonic() + _AWAY_S)
            self._asker.ask("presence.set", {"away": False})
            if found is not None or not self._leave():
                # Shown just before being away counted, or just after it.
                self._talk(token, found)
        self._asker.ask("session.end")
        self._took("looked on", began)

    def _come_in(self, token: str) -> None:
        began = time.perf_counter()
        self._client.start(token)
        self._took("session start", began)

    def _join(self, intent: str) -> bool:
        self._waiting_since = time.perf_counter()
        return self._asker.ask("queue.join", {"intent": intent, "preferences": {}}) is not None

    def _talk(self, token: str, found: Message | None = None) -> Conversation | None:
        """Waits for a match and lives through its call, and the next one where the first came to nothing."""
        while True:
            found = found or self._wait_for_match()
            if found is None:
                return None
            call = Conversation(self._asker, self._plan, found, token)
            ended = call.run()
            if not ended["requeued"]:
                self._stay_in_touch(call, ended)
                return call
            self._report.took("ended", ended["reason"], ended["duration_ms"])
            found, self._waiting_since = None, call.ended_at

    def _wait_for_match(self) -> Message | None:
        until = time.monotonic() + self._plan.patience_s
        while True:
            found = self._next_match(time.monotonic() + _GLANCE_S)
            if found is not None:
                self._report.took("journey", "time to match", (found["arrived"] - self._waiting_since) * 1000)
                return found
            if self._closing_time() or time.monotonic() >= until:
                if self._leave():
                    self._took("left alone", self._waiting_since)
                    return None
                # A partner has just been found: the match is on its way.
                until = time.monotonic() + self._plan.patience_s

    def _next_match(self, until: float) -> Message | None:
        """The data of `match.found`, and when it arrived; None where none comes in time."""
        while (left := until - time.monotonic()) > 0:
            message = self._client.next(left)
            if message is not None and message["type"] == "match.found":
                return {**message["data"], "arrived": message["arrived"]}
        return None

    def _leave(self) -> bool:
        """Gives up waiting; False where a partner has just been found, who must not be left alone."""
        began = time.perf_counter()
        try:
            self._client.request("queue.leave")
        except RequestRefused as refused:
            if refused.code == "already_matched":
                return False
            self._report.failed("request", "queue.leave", (time.perf_counter() - began) * 1000, refused)
            raise
        self._report.took("request", "queue.leave", (time.perf_counter() - began) * 1000)
        return True

    def _stay_in_touch(self, call: Conversation, ended: Message) -> None:
        """Writes to each other, where the call has connected the two."""
        began = time.perf_counter()
        if call.connection_id is None:
            call.connection_id = self._hear_of_connection(call.call_id, ended["reason"])
        if call.connection_id is not None:
            self._took("connection made", began)
            Correspondence(self._asker, self._rest, call.connection_id).run(self._plan.messages)
        elif ended["reason"] == "connected":
            self._fail(began, "connection made", f"call {call.call_id} connected nobody")

    def _hear_of_connection(self, call_id: str, reason: str) -> str | None:
        """What the other has decided: she decides after his call has ended, and it is told once it is written."""
        until = time.monotonic() + _CONNECTION_S.get(reason, 0.0)
        aside: list[Message] = []
        found: str | None = None
        while found is None and (left := until - time.monotonic()) > 0:
            message = self._client.next(left)
            if message is None:
                break
            if message["type"] == "connection.made" and message["data"]["call_id"] == call_id:
                found = message["data"]["connection_id"]
            else:
                aside.append(message)
        # Who heard of it first may have written already.
        self._client.put_back(aside)
        return found

    def _await_history(self, call_id: str) -> None:
        """Returns once the recorder has written the call, which it does within seconds of its end."""
        began = time.perf_counter()
        while not any(call["call_id"] == call_id for call in self._rest.call("GET", "/history/interactions")):
            if time.perf_counter() - began > _HISTORY_S:
                self._fail(
                    began, "call in history", f"call {call_id} is missing {_HISTORY_S:.0f} s after its end"
                )
            gevent.sleep(_HISTORY_PAUSE_S)
        self._took("call in history", began)

    def _took(self, name: str, began: float) -> None:
        self._report.took("journey", name, (time.perf_counter() - began) * 1000)

    def _fail(self, began: float, name: str, what: str) -> None:
        error = Forgotten(what)
        self._report.failed("journey", name, (time.perf_counter() - began) * 1000, error)
        raise error
