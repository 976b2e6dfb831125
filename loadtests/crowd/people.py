"""Who is in the crowd: locust's users, each with an account, spending one evening after the other.

Women and men meet in `dating`, in which she decides; friends meet in `friends`, in which both do. Of how many men
there are for each woman the shape decides, or `--men-per-woman`.
"""

import random
import time
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import gevent
from locust import FastHttpUser, between, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import STATE_CLEANUP, STATE_STOPPED, STATE_STOPPING, WorkerRunner

from loadtests.crowd import plans
from loadtests.crowd.arrivals import NoTokenLeft, Tokens, genders
from loadtests.crowd.correspondence import Lost
from loadtests.crowd.evening import Evening, Forgotten
from loadtests.crowd.hub_client import HubClient
from loadtests.crowd.plans import Shares
from loadtests.swarm.wire import Closed, Message, RequestRefused

API: Final = "/api/v1"
_TOKEN_SERVES_S: Final = 600.0
"""A token is renewed before an evening if it is older; what the evening needs beyond that is its own life."""
_ATTEMPTS: Final = 20
_SIGNS_IN: Final = 0.3
"""Share of evenings that begin with signing in anew."""
_NAMES: Final = {"female": "Ada", "male": "Max", "other": "Kim"}


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


class Crowd:
    """What the people of one process share: who is next, and with what token."""

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options
        assert options is not None, "locust has parsed them"
        men_per_woman = getattr(environment.shape_class, "men_per_woman", None) or options.men_per_woman
        self.genders = genders(men_per_woman)
        self.patience_s: float = options.patience
        self.tokens: Tokens | None = None
        if options.tokens:
            runner = environment.runner
            if isinstance(runner, WorkerRunner):
                self.tokens = Tokens(Path(options.tokens), runner.worker_index, options.token_shares)
            else:
                self.tokens = Tokens(Path(options.tokens))


@cache
def crowd_of(environment: Environment) -> Crowd:
    """What the people of a process share."""
    return Crowd(environment)


class Person(FastHttpUser):
    """Somebody with an account and time on their hands."""

    abstract = True
    wait_time = between(0.1, 1.0)
    intent: ClassVar[str] = "dating"
    shares: ClassVar[Shares] = Shares()

    def on_start(self) -> None:
        require_loopback(self.host)
        self._random = random.Random()
        self._report = LocustReport(self.environment)
        self._client: HubClient | None = None
        self._crowd = crowd_of(self.environment)
        if self._crowd.tokens is not None:
            try:
                self._access_token = self._crowd.tokens.take()
            except NoTokenLeft:
                raise StopUser("there are more people than tokens") from None
        else:
            self._register(self._gender())

    def on_stop(self) -> None:
        if self._client is not None:
            self._client.close()

    @task
    def spend_an_evening(self) -> None:
        self._renew()
        plan = plans.draw(self._random, self.shares, patience_s=self._crowd.patience_s)
        self._client = HubClient(self.host or "", plan.codec)
        evening = Evening(self._client, self._report, self, plan, closing_time=self._is_closing_time)
        began = time.perf_counter()
        try:
            self._spend(evening)
        except (RequestRefused, Forgotten, Lost):
            pass  # counted where it was seen
        except (Closed, OSError) as error:
            self._report.failed("journey", "connection", (time.perf_counter() - began) * 1000, error)
        finally:
            self._client.close()

    def call(self, method: str, path: str, body: Message | None = None, *, name: str | None = None) -> Any:
        """One REST call; the data of its answer. What is refused is counted by locust. Raises: StopUser.

        Waits and asks again where it is told that there were too many: a whole crowd comes from one address.
        """
        row = f"{API}{name or path}"
        headers = {"Authorization": f"Bearer {self._access_token}"} if self._access_token else {}
        for left in reversed(range(_ATTEMPTS)):
            with self.client.request(
                method, f"{API}{path}", json=body, headers=headers, catch_response=True, name=row
            ) as response:
                answer: Any = response.json() if response.text else None
                response.success()
                if isinstance(answer, dict) and answer.get("success"):
                    return answer["data"]
                if left and response.status_code in (429, 503):
                    self._report.took("refused", f"{row} {response.status_code}", 0.0)
                    gevent.sleep(float(response.headers.get("Retry-After", 1)))
                    continue
                response.failure(f"{response.status_code}: {answer}")
                raise StopUser
        raise AssertionError("the last attempt has ended one way or the other")

    def _spend(self, evening: Evening) -> None:
        evening.meet(self.intent, self._access_token)

    def _gender(self) -> str:
        return next(self._crowd.genders)

    def _is_closing_time(self) -> bool:
        runner = self.environment.runner
        return runner is not None and runner.state in (STATE_STOPPING, STATE_STOPPED, STATE_CLEANUP)

    def _register(self, gender: str) -> None:
        number = self._random.getrandbits(64)
        self._account = {"email": f"{number:016x}@example.org", "password": f"correct horse {number}"}
        about = {
            "first_name": _NAMES[gender],
            "gender": gender,
            "birth_date": f"{self._random.randint(1970, 2004)}-04-01",
            "languages": self._random.sample(["en", "de", "fr", "es"], 2),
        }
        self._sign_in("/auth/register", {**self._account, **about})

    def _renew(self) -> None:
        """Signs in now and then, as on a new device, and renews a token that has grown old."""
        if self._crowd.tokens is not None:
            return
        if self._random.random() < _SIGNS_IN:
            self._sign_in("/auth/login", self._account)
        elif time.monotonic() - self._token_since > _TOKEN_SERVES_S:
            self._sign_in("/auth/refresh", {"refresh_token": self._refresh_token})

    def _sign_in(self, path: str, body: Message) -> None:
        self._access_token = ""
        answer = self.call("POST", path, body)
        self._access_token = answer["access_token"]
        self._refresh_token = answer["refresh_token"]
        self._token_since = time.monotonic()


class Talker(Person):
    """Talks to the last second, and asks for more."""

    weight = 4
    shares = plans.TALKER


class Picky(Person):
    """Declines, denies, hangs up."""

    weight = 1
    shares = plans.PICKY


class Chatter(Person):
    """Stays in touch with everybody, and writes."""

    weight = 3
    shares = plans.CHATTER


class Dropper(Person):
    """Is on a train: loses the network in every call."""

    weight = 2
    shares = plans.DROPPER


class Lurker(Person):
    """Is there and looks on, mostly away."""

    weight = 1
    shares = plans.LURKER

    def _spend(self, evening: Evening) -> None:
        evening.look_on(self.intent, self._access_token)


class Friend(Person):
    """Meets anybody; both decide."""

    weight = 2
    intent = "friends"

    def _gender(self) -> str:
        return self._random.choice(tuple(_NAMES))
