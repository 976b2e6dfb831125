"""`/api/v1/connections`: whom one stays in touch with, and what is said; twins of the `chat` messages.

Whoever is not of a connection gets `not_connected`, whether it exists or not.
"""

from typing import Any, Literal

import msgspec

from base.errors import ErrorCode
from base.ids import is_uuid
from chat.model import Acquaintance, Message
from chat.rules import NotConnected
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.pagination import PageMeta, PageQuery, decode_cursor, page_meta
from rest.policies import Policy
from rest.routes.auth import Nothing
from rest.services import RestServices
from signaling.dispatch.chat import PresenceName
from signaling.protocol.messages.call import PeerView
from signaling.protocol.messages.chat import Body, ClientId, MessageNumber

CONNECTION = f"{API}/connections/{{connection_id}}"


class MessageBody(msgspec.Struct, frozen=True, kw_only=True):
    """Something to say. Sent again under its `client_id`, it is still the same message."""

    client_id: ClientId
    body: Body


class ReadBody(msgspec.Struct, frozen=True, kw_only=True):
    """The `number` of the last message that was read."""

    up_to: MessageNumber


class MessagesQuery(PageQuery, frozen=True, kw_only=True):
    """Newest first; with `after`, what has a higher number, oldest first."""

    after: MessageNumber | None = None


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A message as one of the two sees it. `number` is its place, from 1; `client_id` only of one's own."""

    id: str
    number: int
    client_id: str | None
    sender: Literal["self", "peer"] = msgspec.field(name="from")
    body: str
    sent_at: int


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as one of the two sees it."""

    connection_id: str
    peer: PeerView
    made_at: int
    last_message: MessageView | None
    unread: int
    read_up_to: int
    peer_read_up_to: int
    presence: PresenceName


class ReadView(msgspec.Struct, frozen=True, kw_only=True):
    """Where one's read mark stands now, and how much is unread beyond it."""

    connection_id: str
    up_to: int
    unread: int


async def connections(services: RestServices, exchange: Exchange) -> Reply:
    query, caller = exchange.typed_query(PageQuery), exchange.caller.user_id
    before = None if query.cursor is None else decode_cursor(query.cursor)
    page, after = await services.chat.acquaintances(caller, before=before, limit=query.limit)
    return Reply([_connection(one, presence, caller) for one, presence in page], page_meta(after))


async def messages(services: RestServices, exchange: Exchange) -> Reply:
    query, caller, connection_id = (
        exchange.typed_query(MessagesQuery),
        exchange.caller.user_id,
        _connection_id(exchange),
    )
    before = None if query.cursor is None else decode_cursor(query.cursor)[0]
    # One more than asked for: so the page knows whether it is the last without counting.
    found = await services.chat.messages(
        caller, connection_id, before=before, after=query.after, limit=query.limit + 1
    )
    page = found[: query.limit]
    more = len(found) > query.limit
    meta = page_meta((page[-1].number, connection_id) if more else None)
    if query.after is not None:
        # Goes on by `after` the last number; a cursor leads the other way.
        meta = {**meta, "next_cursor": None}
    return Reply([_message(one, caller) for one in page], meta)


async def send(services: RestServices, exchange: Exchange) -> Reply:
    body, caller = exchange.typed_body(MessageBody), exchange.caller.user_id
    sent = await services.chat.send(caller, _connection_id(exchange), body.client_id, body.body)
    return Reply(_message(sent, caller))


async def read(services: RestServices, exchange: Exchange) -> Reply:
    connection_id = _connection_id(exchange)
    mark = await services.chat.read(
        exchange.caller.user_id, connection_id, exchange.typed_body(ReadBody).up_to
    )
    return Reply(ReadView(connection_id=connection_id, up_to=mark.up_to, unread=mark.unread))


async def end(services: RestServices, exchange: Exchange) -> Reply:
    await services.chat.end(exchange.caller.user_id, _connection_id(exchange))
    return Reply(Nothing())


def _connection_id(exchange: Exchange) -> str:
    connection_id = exchange.request.match_info["connection_id"]
    if not is_uuid(connection_id):
        raise NotConnected
    return connection_id


def _connection(one: Acquaintance, presence: PresenceName, caller: str) -> ConnectionView:
    return ConnectionView(
        connection_id=one.connection_id,
        peer=PeerView(
            first_name=one.peer.first_name,
            age=one.peer.age,
            languages=list(one.peer.languages),
            verified=one.peer.verified,
        ),
        made_at=one.made_at,
        last_message=None if one.last_message is None else _message(one.last_message, caller),
        unread=one.unread,
        read_up_to=one.read_up_to,
        peer_read_up_to=one.peer_read_up_to,
        presence=presence,
    )


def _message(message: Message, caller: str) -> MessageView:
    mine = message.sender_id == caller
    return MessageView(
        id=message.id,
        number=message.number,
        client_id=message.client_id if mine else None,
        sender="self" if mine else "peer",
        body=message.body,
        sent_at=message.sent_at,
    )


def _endpoint(method: Any, path: str, name: str, summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        name=name,
        summary=summary,
        policy=Policy.USER,
        errors=(ErrorCode.NOT_CONNECTED, *more.pop("errors", ())),
        **more,
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API}/connections",
        name="listConnections",
        summary="Whom one stays in touch with, the most recently active first",
        policy=Policy.USER,
        handler=connections,
        query=PageQuery,
        returns=list[ConnectionView],
        meta=PageMeta,
        errors=(ErrorCode.INVALID_MESSAGE,),
    ),
    _endpoint(
        "GET",
        f"{CONNECTION}/messages",
        "listMessages",
        "What was said, newest first; with `after`, what came since, oldest first",
        handler=messages,
        query=MessagesQuery,
        returns=list[MessageView],
        meta=PageMeta,
        errors=(ErrorCode.INVALID_MESSAGE,),
    ),
    _endpoint(
        "POST",
        f"{CONNECTION}/messages",
        "sendMessage",
        "Say something; twin of `chat.send`",
        handler=send,
        body=MessageBody,
        returns=MessageView,
        status=201,
        errors=(ErrorCode.CONFLICT,),
    ),
    _endpoint(
        "POST",
        f"{CONNECTION}/read",
        "markRead",
        "Have read up to a message; twin of `chat.read`",
        handler=read,
        body=ReadBody,
        returns=ReadView,
    ),
    _endpoint(
        "DELETE",
        CONNECTION,
        "endConnection",
        "End the connection for both; the other is told nothing",
        handler=end,
        returns=Nothing,
    ),
)
