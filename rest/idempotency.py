"""Requests that may be repeated: the same `Idempotency-Key` gets the first one's answer.

Decides what is remembered (successes, and refusals that trying again would not change), for whom a key counts, and
how long a request waits for its own twin. Refuses to know where answers are kept.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from accounts.rules import InvalidField
from base.errors import MinuetError, Unavailable
from rest.endpoints import Endpoint, Exchange
from rest.envelope import JSON, failure
from rest.ports import InProgress, Replies, ReplyKey, Reservation, StoredReply

# Any printable ASCII; what it means is the client's business.
_KEY = re.compile(r"[!-~]{1,128}")
# A command takes milliseconds: whoever waits so long for its twin is told to come back.
_LOOKS_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 0.8)
REPLAYED: Final = "Idempotency-Replayed"

Run = Callable[[], Awaitable["Answer"]]


class Answer(msgspec.Struct, frozen=True):
    """What a handler came to. Only a final one is remembered: it says all that there will be to say."""

    status: int
    body: bytes
    is_final: bool


def key_of(request: web.Request, endpoint: Endpoint, user_id: str) -> ReplyKey | None:
    """The request's key, if the endpoint takes one and the client sent it.

    Raises:
        InvalidField: it is not 1 to 128 printable ASCII characters, or there are two.
    """
    given = request.headers.getall("Idempotency-Key", []) if endpoint.idempotent_by_key else []
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidField("Idempotency-Key", "must be 1 to 128 printable ASCII characters")
    return ReplyKey(user_id, f"{endpoint.method} {endpoint.path}", given[0])


async def run_once(
    key: ReplyKey, replies: Replies, endpoint: Endpoint, exchange: Exchange, run: Run
) -> web.Response:
    """Run a request unless its key has an answer already.

    Raises:
        KeyReused: the key belongs to another request.
        InProgress: the same request is still being handled.
        Unavailable: nobody can say whether the key has an answer.
        Neither of the two for what only takes something away: that is done all the same, since doing it twice harms
            nobody, and the twin may have died with its node.
    """
    try:
        known = await _begin(replies, key, _fingerprint(exchange))
    except (Unavailable, InProgress):
        if not endpoint.restricts:
            raise
        return respond(await run())
    if isinstance(known, StoredReply):
        return web.Response(
            status=known.status, body=known.body, content_type=JSON, headers={REPLAYED: "true"}
        )
    try:
        answer = await run()
    except MinuetError as error:
        refusal = failure(error, exchange.request_id)
        if _is_final(error) and isinstance(refusal.body, bytes):
            await replies.finish(known, refusal.status, refusal.body)
        else:
            await replies.abandon(known)
        raise
    except BaseException:
        # Broad, and passed on: whoever asks again must not be told that this, which failed or was cancelled, is under way.
        await replies.abandon(known)
        raise
    if answer.is_final:
        await replies.finish(known, answer.status, answer.body)
    else:
        await replies.abandon(known)
    return respond(answer)


def respond(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, content_type=JSON)


async def _begin(replies: Replies, key: ReplyKey, fingerprint: str) -> Reservation | StoredReply:
    for pause_s in _LOOKS_S:
        try:
            return await replies.begin(key, fingerprint)
        except InProgress:
            await asyncio.sleep(pause_s)
    return await replies.begin(key, fingerprint)


def _is_final(error: MinuetError) -> bool:
    """Whether the same request would be refused again, as far as the refusal itself says."""
    return not error.spec.retryable and error.spec.status < 500


def _fingerprint(exchange: Exchange) -> str:
    digest = hashlib.sha256(exchange.request.path.encode())
    if exchange.body is not None:
        digest.update(b"\n" + msgspec.json.encode(exchange.body))
    return digest.hexdigest()[:32]
