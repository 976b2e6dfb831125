"""From bytes and query strings to typed values, or a refusal that names the field."""

import asyncio
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec
import orjson
from aiohttp import web

from accounts.rules import InvalidField
from base.errors import ErrorCode, MinuetError
from rest.settings import BODY_TIMEOUT_S, MAX_BODY

Typed = TypeVar("Typed")

_AT = re.compile(r"(?P<problem>.*) - at `(?P<path>[^`]*)`", re.DOTALL)
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<field>[^`]*)`")


class InvalidBody(MinuetError):
    """The body is not JSON, or not an object."""

    code = ErrorCode.INVALID_MESSAGE


class TooLarge(MinuetError):
    """The body is over its limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body as an object.

    Raises:
        TooLarge: over 64 kB.
        InvalidBody: the wrong content type, not JSON in UTF-8, too deep, not an object, or it did not come in time.
    """
    if request.content_type != "application/json":
        raise InvalidBody("The content type must be application/json.")
    if request.charset not in (None, "utf-8", "UTF-8"):
        raise InvalidBody("The body must be UTF-8.")
    if (request.content_length or 0) > MAX_BODY:
        raise TooLarge
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge from error
    except TimeoutError as error:
        raise InvalidBody("The body did not come in time.") from error
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
        raise InvalidBody("The body could not be read.") from error
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidBody("The body is not JSON.") from error
    if not isinstance(body, dict):
        raise InvalidBody("The body must be an object.")
    return body


def convert(value: Mapping[str, Any], wanted: type[Typed], *, from_text: bool = False) -> Typed:
    """The typed value; with `from_text` numbers may be written as strings, as in a query.

    Raises:
        InvalidField: naming the first field that does not fit.
    """
    try:
        return msgspec.convert(value, wanted, strict=not from_text)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error


def plain_text(field: str, entered: str | None, longest: int) -> str | None:
    """Free text as it is stored: composed (NFC), line ends as `\\n`, no blanks around it; None where nothing is left.

    Raises:
        InvalidField: it has control characters, or more than `longest` characters once it is composed.
    """
    text = unicodedata.normalize("NFC", entered or "").replace("\r\n", "\n").strip()
    if any(unicodedata.category(character) == "Cc" for character in text if character not in "\n\t"):
        raise InvalidField(field, "must have no control characters")
    if len(text) > longest:
        # Some characters have no composed form and come apart instead.
        raise InvalidField(field, f"must have at most {longest} characters")
    return text or None


def unknown_fields(given: Iterable[str], wanted: type[msgspec.Struct]) -> list[str]:
    """Top-level names that the type does not have."""
    known = {field.encode_name for field in msgspec.structs.fields(wanted)}
    return [name for name in given if name not in known]


def _field_error(text: str) -> InvalidField:
    at = _AT.fullmatch(text)
    problem, path = (at["problem"], at["path"]) if at else (text, "$")
    field = path.removeprefix("$").lstrip(".")
    named = _NAMED.search(problem)
    if named is not None:
        return InvalidField(".".join(filter(None, (field, named["field"]))), "is required")
    return InvalidField(field or "body", problem)
