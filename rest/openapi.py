"""The OpenAPI 3.1 document, generated from the endpoints' types: what is served is what is written."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from base.errors import ERROR_SPECS, ErrorCode
from rest.endpoints import Endpoint
from rest.envelope import Failure
from rest.policies import Policy

Document = dict[str, Any]

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_ALWAYS = (ErrorCode.INTERNAL, ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)
_WITH_BODY = (ErrorCode.INVALID_MESSAGE, ErrorCode.PAYLOAD_TOO_LARGE)
_WITH_CALLER = (ErrorCode.UNAUTHENTICATED, ErrorCode.TOKEN_EXPIRED, ErrorCode.FORBIDDEN)
_ANY_OBJECT: Document = {"type": "object"}


def _envelope(data: Document, meta: Document) -> Document:
    """The schema of an answer that is no failure."""
    return {
        "type": "object",
        "required": ["success", "data", "meta", "request_id"],
        "properties": {
            "success": {"const": True},
            "data": data,
            "meta": meta,
            "request_id": {"type": "string"},
        },
    }


_PENDING: Document = {
    "description": "What was asked for cannot be done just now: it is kept, and done as soon as it can be.",
    "content": {
        "application/json": {
            "schema": _envelope(
                {
                    "type": "object",
                    "required": ["pending"],
                    "properties": {"pending": {"const": True}},
                },
                _ANY_OBJECT,
            )
        }
    },
}
_LIMIT_HEADERS = {
    "X-RateLimit-Limit": "Requests in a full bucket.",
    "X-RateLimit-Remaining": "Requests left now.",
    "X-RateLimit-Reset": "Unix seconds at which the bucket is full again.",
}


def document(endpoints: Iterable[Endpoint], version: str) -> Document:
    """The document for some endpoints, as plain JSON values."""
    declared = list(endpoints)
    types = [kind for endpoint in declared for kind in _types(endpoint)]
    schemas, components = msgspec.json.schema_components([*types, Failure], ref_template=_REF)
    by_type = dict(zip(map(_type_key, [*types, Failure]), schemas, strict=True))
    paths: dict[str, Document] = {}
    for endpoint in declared:
        operation = _operation(endpoint, by_type)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Minuet",
            "version": version,
            "description": "Accounts, calls and history of Minuet. Calls themselves live on the WebSocket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "headers": {
                name: {"description": text, "schema": {"type": "integer"}}
                for name, text in _LIMIT_HEADERS.items()
            },
        },
    }


def _types(endpoint: Endpoint) -> list[Any]:
    return [
        kind for kind in (endpoint.body, endpoint.query, endpoint.meta, endpoint.returns) if kind is not None
    ]


def _type_key(kind: Any) -> Any:
    # Generic aliases such as list[X] are equal without being the same object.
    return kind if isinstance(kind, type) else repr(kind)


def _operation(endpoint: Endpoint, schemas: dict[Any, Document]) -> Document:
    operation: Document = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.path.split("/")[3]],
        "x-policy": endpoint.policy.value,
        "security": [] if endpoint.policy is Policy.PUBLIC else [{"bearer": []}],
        "responses": {
            str(endpoint.status): _success(endpoint, schemas),
            **({"202": _PENDING} if endpoint.restricts or endpoint.may_wait else {}),
            **_failures(endpoint),
        },
    }
    parameters = _parameters(endpoint)
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[_type_key(endpoint.body)]}},
        }
    return operation


def _success(endpoint: Endpoint, schemas: dict[Any, Document]) -> Document:
    meta = _ANY_OBJECT if endpoint.meta is None else schemas[_type_key(endpoint.meta)]
    return {
        "description": "Done.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _LIMIT_HEADERS},
        "content": {"application/json": {"schema": _envelope(schemas[_type_key(endpoint.returns)], meta)}},
    }


def _failures(endpoint: Endpoint) -> Document:
    codes = dict.fromkeys(endpoint.errors)
    if endpoint.body is not None or endpoint.query is not None or endpoint.idempotent_by_key:
        codes |= dict.fromkeys(_WITH_BODY)
    if endpoint.policy is not Policy.PUBLIC:
        codes |= dict.fromkeys(_WITH_CALLER)
    codes |= dict.fromkeys(_ALWAYS)
    by_status: dict[int, list[ErrorCode]] = {}
    for code in codes:
        by_status.setdefault(ERROR_SPECS[code].status, []).append(code)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {ERROR_SPECS[code].meaning}" for code in same),
            "content": {"application/json": {"schema": {"$ref": _REF.format(name="Failure")}}},
        }
        for status, same in sorted(by_status.items())
    }


def _parameters(endpoint: Endpoint) -> list[Document]:
    found: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in _PARAMETER.findall(endpoint.path)
    ]
    if endpoint.query is not None:
        schema = msgspec.json.schema_components([endpoint.query])[1][endpoint.query.__name__]
        found += [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", []),
                "schema": {
                    key: value for key, value in field.items() if key != "default" or value is not None
                },
            }
            for name, field in schema["properties"].items()
        ]
    if endpoint.idempotent_by_key:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "A repeated request with the same key within ten minutes gets the first one's answer.",
                "schema": {"type": "string", "maxLength": 128},
            }
        )
    return found
