"""A person's whole evening: come in, wait for somebody, talk, look at the history, leave."""

import time
from collections.abc import Callable

import gevent

from loadtests.crowd.asking import Asker, Report
from loadtests.crowd.conversation import Conversation
from loadtests.crowd.hub_client import HubClient
from loadtests.crowd.plans import Plan
from loadtests.swarm.wire import Message, RequestRefused

_GLANCE_S = 0.5
_HISTORY_S = 15.0
_HISTORY_PAUSE_S = 0.5


class Forgotten(Exception):
    """A call that is over is not in its participant's history."""


def spend(
    client: HubClient,
    report: Report,
    plan: Plan,
    *,
    intent: str,
    token: str,
    read_history: Callable[[], list[Message]],
    closing_time: Callable[[], bool],
) -> bool:
    """One evening; whether there was a call. What goes wrong has been reported when it raises.

    At closing time nobody waits for a partner any more; who is in a call goes on to its end.
    """
    began = time.perf_counter()
    asker = Asker(client, report)
    client.start(token)
    report.took("journey", "session start", (time.perf_counter() - began) * 1000)
    found = _wait_for_match(asker, plan, intent, closing_time)
    if found is None:
        return False
    ended = Conversation(asker, plan, found, token).run()
    asker.ask("session.end")
    _await_history(report, read_history, found["call_id"])
    report.took("ended", ended["reason"], ended["duration_ms"])
    report.took("journey", "whole journey", (time.perf_counter() - began) * 1000)
    return True


def _wait_for_match(
    asker: Asker, plan: Plan, intent: str, closing_time: Callable[[], bool]
) -> Message | None:
    began = time.perf_counter()
    if asker.ask("queue.join", {"intent": intent, "preferences": {}}) is None:
        return None
    until = time.monotonic() + plan.patience_s
    while True:
        message = asker.client.next(_GLANCE_S)
        if message is not None and message["type"] == "match.found":
            asker.report.took("journey", "time to match", (message["arrived"] - began) * 1000)
            match: Message = message["data"]
            return match
        if closing_time() or time.monotonic() >= until:
            if _leave(asker):
                asker.report.took("journey", "left alone", (time.perf_counter() - began) * 1000)
                return None
            # A partner has just been found: the match is on its way.
            until = time.monotonic() + plan.patience_s


def _leave(asker: Asker) -> bool:
    """Gives up waiting; False where a partner has just been found, who must not be left alone."""
    began = time.perf_counter()
    try:
        asker.client.request("queue.leave")
    except RequestRefused as refused:
        if refused.code == "already_matched":
            return False
        asker.report.failed("request", "queue.leave", (time.perf_counter() - began) * 1000, refused)
        raise
    asker.report.took("request", "queue.leave", (time.perf_counter() - began) * 1000)
    return True


def _await_history(report: Report, read_history: Callable[[], list[Message]], call_id: str) -> None:
    """Returns once the recorder has written the call, which it does within seconds of its end."""
    began = time.perf_counter()
    while not any(call["call_id"] == call_id for call in read_history()):
        if time.perf_counter() - began > _HISTORY_S:
            error = Forgotten(f"call {call_id} is not in the history {_HISTORY_S:.0f} s after its end")
            report.failed("journey", "call in history", _HISTORY_S * 1000, error)
            raise error
        gevent.sleep(_HISTORY_PAUSE_S)
    report.took("journey", "call in history", (time.perf_counter() - began) * 1000)
