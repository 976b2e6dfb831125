"""The WebSocket protocol as an AsyncAPI 3.0 document, made from the message classes."""

from collections.abc import Mapping
from typing import Any

import msgspec

from signaling.protocol.messages.family import ClientMessage, ServerMessage
from signaling.protocol.schema import CLIENT_MESSAGES, SERVER_MESSAGES

_SCHEMAS = "#/components/schemas/"


def asyncapi_document(version: str) -> dict[str, Any]:
    """One channel, one operation each way; a message's payload is its envelope."""
    classes = (*CLIENT_MESSAGES.values(), *SERVER_MESSAGES.values())
    _, components = msgspec.json.schema_components(classes, ref_template=f"{_SCHEMAS}{{name}}")
    messages = {
        **{_name("client", type_): _message(type_, it) for type_, it in CLIENT_MESSAGES.items()},
        **{_name("server", type_): _message(type_, it) for type_, it in SERVER_MESSAGES.items()},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Minuet",
            "version": version,
            "description": "See docs/protocol.md for the rules around these messages.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "hub": {
                "address": "/v1/ws",
                "description": "Subprotocols `minuet.v1.json` and `minuet.v1.msgpack` carry the same messages.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "fromClient": _operation("receive", "client", CLIENT_MESSAGES),
            "fromServer": _operation("send", "server", SERVER_MESSAGES),
        },
        "components": {"messages": messages, "schemas": components},
    }


def _operation(action: str, side: str, registry: Mapping[str, object]) -> dict[str, Any]:
    refs = [{"$ref": f"#/channels/hub/messages/{_name(side, type_)}"} for type_ in registry]
    return {"action": action, "channel": {"$ref": "#/channels/hub"}, "messages": refs}


def _message(type_: str, message: type[ClientMessage] | type[ServerMessage]) -> dict[str, Any]:
    properties: dict[str, Any] = {"type": {"const": type_}, "id": {"type": "integer", "minimum": 0}}
    required = ["type"]
    if issubclass(message, ClientMessage):
        properties["ack"] = {"type": "integer", "minimum": 0}
        required += ["id"] if message.NEEDS_ID else []
    elif message.RELIABLE:
        properties["seq"] = {"type": "integer", "minimum": 1}
        required.append("seq")
    fields = msgspec.structs.fields(message)
    if fields:
        properties["data"] = {"$ref": f"{_SCHEMAS}{message.__name__}"}
        required += ["data"] if any(field.required for field in fields) else []
    return {
        "name": type_,
        "summary": (message.__doc__ or "").strip().splitlines()[0],
        "payload": {"type": "object", "properties": properties, "required": required},
    }


def _name(side: str, type_: str) -> str:
    return f"{side}.{type_}"
