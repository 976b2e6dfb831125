"""Credentials for the TURN servers, made for one seat of one call.

Decides for how long they hold and when nobody gets any. They are what coturn's `use-auth-secret` checks (the TURN REST
API, draft-uberti-behave-turn-rest-00): the user name begins with the Unix second at which it expires, the password is
base64 of HMAC-SHA1 over it. The rest of the name is the call and the seat, so that the worker finds a call's
allocations by its id.

That a credential expires does not end what it has allocated: refreshes go on. Ending is the worker's, see
`jobs.allocations`.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from base.errors import ErrorCode, MinuetError
from signaling.call.record import Call
from signaling.call.states import RELAYING, TALKING, Seat, State
from signaling.protocol.messages.call import IceServer

SLACK_MS: Final = 30_000
"""How much longer than the call a credential may hold: the TURN server's clock is another."""


class NoIceServers(MinuetError):
    """The call is not in a state in which media is set up."""

    code = ErrorCode.BAD_STATE


@dataclass(frozen=True, slots=True)
class TurnServers:
    """Where our TURN servers are, and what they share with us."""

    urls: tuple[str, ...]
    secret: str = field(repr=False)
    credential_ms: int = 300_000
    """The longest that a credential holds."""


@dataclass(frozen=True, slots=True)
class IceServers:
    """What clients may be told of."""

    stun_urls: tuple[str, ...] = ()
    turn: TurnServers | None = None


@dataclass(frozen=True, slots=True)
class Minted:
    """A seat's ICE servers; `expires_at` is Unix ms, None where nothing expires."""

    servers: Sequence[IceServer]
    expires_at: int | None


def mint(ice: IceServers, call: Call, seat: Seat, now_ms: int) -> Minted:
    """The servers for a seat, from `connecting` on and until media is over; whoever declined learns none.

    Raises:
        NoIceServers: `bad_state` before and after that, `call_ended` when the call is over for the seat.
    """
    if call.state is State.ENDED or call.seat(seat).freed:
        raise NoIceServers(code=ErrorCode.CALL_ENDED)
    if call.state not in RELAYING:
        raise NoIceServers
    servers = [IceServer(urls=[url]) for url in ice.stun_urls]
    if ice.turn is None:
        return Minted(servers, None)
    # Whole seconds, as the user name has them.
    expires_s = min(now_ms + ice.turn.credential_ms, media_ends_by(call, now_ms) + SLACK_MS) // 1000
    username = f"{expires_s}:{call.call_id}.{seat}"
    servers.append(
        IceServer(
            urls=list(ice.turn.urls),
            username=username,
            credential=password_of(username, ice.turn.secret),
        )
    )
    return Minted(servers, expires_s * 1000)


def password_of(username: str, secret: str) -> str:
    """The password that coturn expects for this user name."""
    # SHA-1 is what the protocol says; as a MAC it is not broken.
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def media_ends_by(call: Call, now_ms: int) -> int:
    """The last moment, Unix ms, at which media of this call can flow, were it extended as often as it may be."""
    policy = call.policy
    extended_s = policy.call_seconds * max(0, policy.max_extensions - call.extensions)
    if call.state in TALKING:
        return (call.ends_at or now_ms) + round(extended_s * 1000)
    return (call.deadline_at or now_ms) + round((policy.call_seconds + extended_s) * 1000)
