"""Asking the hub for something, as a fair client does: it waits where it is told to, and knows news that crossed its way.

Decides which refusals are failures. Not one: a limit or an outage that passes (`retryable`), and a refusal for which
the reason is already on its way, since the other side acted at the same moment.
"""

import time
from typing import Any, Final, Protocol

import gevent

from loadtests.crowd.hub_client import HubClient
from loadtests.swarm.wire import Message, RequestRefused

_ATTEMPTS: Final = 5
_NEWS_S: Final = 3.0
_CROSSED: Final = frozenset(
    ("call_ended", "bad_state", "stale_negotiation", "no_pending_request", "no_pending_extension")
)
"""What a request may be answered that was sent before the news that makes it wrong had come."""
_NEWS: Final = frozenset(
    (
        "call.state",
        "call.ended",
        "call.reset",
        "call.offer",
        "call.answer",
        "call.negotiation_failed",
        "video.denied",
        "connect.prompt",
    )
)


class Report(Protocol):
    """Where durations and failures go; milliseconds."""

    def took(self, kind: str, name: str, ms: float) -> None: ...

    def failed(self, kind: str, name: str, ms: float, error: Exception) -> None: ...


class Asker:
    """Requests of one client, timed and judged."""

    def __init__(self, client: HubClient, report: Report) -> None:
        self.client = client
        self.report = report

    def ask(self, type_: str, data: Message | None = None) -> Message | None:
        """The data of `ok`; None where the request came too late or too often, which is nobody's failure.

        Raises: RequestRefused for what is one; it has been reported.
        """
        for _ in range(_ATTEMPTS):
            began = time.perf_counter()
            try:
                answer = self.client.request(type_, data)
            except RequestRefused as refused:
                ms = (time.perf_counter() - began) * 1000
                if self._is_excused(refused):
                    self.report.took("refused", f"{type_} {refused.code}", ms)
                    if refused.code in ("rate_limited", "unavailable"):
                        gevent.sleep(refused.data.get("retry_after_ms", 500) / 1000)
                        continue
                    return None
                self.report.failed("request", type_, ms, refused)
                raise
            except TimeoutError as error:
                self.report.failed("request", type_, (time.perf_counter() - began) * 1000, error)
                raise
            self.report.took("request", type_, (time.perf_counter() - began) * 1000)
            return answer
        return None

    def _is_excused(self, refused: RequestRefused) -> bool:
        return bool(refused.data["retryable"]) or (refused.code in _CROSSED and self._news_came())

    def _news_came(self) -> bool:
        """Whether something that changes the call is waiting to be read, or comes within moments."""
        until = time.monotonic() + _NEWS_S
        seen: list[Message] = []
        found = False
        while not found and (left := until - time.monotonic()) > 0:
            message: dict[str, Any] | None = self.client.next(left)
            if message is not None:
                seen.append(message)
                found = message["type"] in _NEWS
        self.client.put_back(seen)
        return found
