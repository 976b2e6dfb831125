"""Who is in the crowd: locust's users, each with an account, spending one evening after the other.

Women and men meet in `dating`, in which she decides; friends meet in `friends`, in which both do.
"""

import random
import time
from ipaddress import ip_address
from typing import Any, ClassVar
from urllib.parse import urlsplit

from locust import FastHttpUser, between, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import STATE_CLEANUP, STATE_STOPPED, STATE_STOPPING

from loadtests.crowd.evening import spend
from loadtests.crowd.hub_client import HubClient
from loadtests.crowd.plans import Shares, draw
from loadtests.swarm.wire import Closed, Message, RequestRefused

API = "/api/v1"
_TOKEN_SERVES_S = 600.0
"""A token is renewed before an evening if it is older; what the evening needs beyond that is its own life."""


class OnlyLoopback(Exception):
    """The crowd is for machines of one's own."""


def require_loopback(url: str | None) -> None:
    """Lets the crowd loose on this machine only. Raises: OnlyLoopback."""
    host = urlsplit(url or "").hostname or ""
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise OnlyLoopback(f"{url!r} is not on this machine: name 127.0.0.1, ::1 or localhost")


class LocustReport:
    """Locust's statistics. Milliseconds."""

    def __init__(self, environment: Environment) -> None:
        self._fire = environment.events.request.fire

    def took(self, kind: str, name: str, ms: float) -> None:
        self._fire(request_type=kind, name=name, response_time=ms, response_length=0, exception=None)

    def failed(self, kind: str, name: str, ms: float, error: Exception) -> None:
        self._fire(request_type=kind, name=name, response_time=ms, response_length=0, exception=error)


class Person(FastHttpUser):
    """Somebody with an account and time on their hands."""

    abstract = True
    wait_time = between(0.1, 1.0)
    intent: ClassVar[str] = "dating"
    genders: ClassVar[tuple[str, ...]] = ("female", "male")
    shares: ClassVar[Shares] = Shares()

    def on_start(self) -> None:
        require_loopback(self.host)
        self._random = random.Random()
        self._report = LocustReport(self.environment)
        self._hub: HubClient | None = None
        self._number = self._random.getrandbits(64)
        self._register()

    def on_stop(self) -> None:
        if self._hub is not None:
            self._hub.close()

    @task
    def spend_an_evening(self) -> None:
        if time.monotonic() - self._token_since > _TOKEN_SERVES_S:
            self._refresh()
        plan = draw(self._random, self.shares, patience_s=self.environment.parsed_options.patience)
        self._hub = HubClient(self.host or "", plan.codec)
        began = time.perf_counter()
        try:
            spend(
                self._hub,
                self._report,
                plan,
                intent=self.intent,
                token=self._access_token,
                read_history=self._history,
                closing_time=self._is_closing_time,
            )
        except RequestRefused:
            pass  # counted where it was refused
        except (Closed, OSError) as error:
            self._report.failed("journey", "connection", (time.perf_counter() - began) * 1000, error)
        finally:
            self._hub.close()

    def _is_closing_time(self) -> bool:
        runner = self.environment.runner
        return runner is not None and runner.state in (STATE_STOPPING, STATE_STOPPED, STATE_CLEANUP)

    def _register(self) -> None:
        gender = self._random.choice(self.genders)
        body = {
            "email": f"{self._number:016x}@example.org",
            "password": f"correct horse {self._number}",
            "first_name": {"female": "Ada", "male": "Max"}.get(gender, "Kim"),
            "gender": gender,
            "birth_date": f"{self._random.randint(1970, 2004)}-04-01",
            "languages": self._random.sample(["en", "de", "fr", "es"], 2),
        }
        self._take_tokens(self._call("POST", "/auth/register", body))

    def _refresh(self) -> None:
        self._take_tokens(self._call("POST", "/auth/refresh", {"refresh_token": self._refresh_token}))

    def _history(self) -> list[Message]:
        answer = self._call("GET", "/history/interactions")
        calls: list[Message] = answer["data"]
        return calls

    def _take_tokens(self, answer: Message) -> None:
        self._access_token: str = answer["data"]["access_token"]
        self._refresh_token: str = answer["data"]["refresh_token"]
        self._token_since = time.monotonic()

    def _call(self, method: str, path: str, body: Message | None = None) -> Message:
        """One REST call; what is refused is counted by locust. Raises: StopUser."""
        headers = {"Authorization": f"Bearer {self._access_token}"} if body is None else {}
        with self.client.request(
            method, f"{API}{path}", json=body, headers=headers, catch_response=True
        ) as response:
            answer: Any = None
            if response.text:
                answer = response.json()
            if not isinstance(answer, dict) or not answer.get("success"):
                response.failure(f"{response.status_code}: {answer}")
                raise StopUser
            response.success()
            return answer


class Woman(Person):
    """Decides about video and about staying in touch."""

    weight = 4
    genders = ("female",)


class Man(Person):
    """Asks."""

    weight = 4
    genders = ("male",)


class Friend(Person):
    """Meets anybody; both decide."""

    weight = 2
    intent = "friends"
