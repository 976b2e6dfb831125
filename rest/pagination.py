"""Pages of a list: an opaque cursor, a limit of 1 to 100.

A cursor is the key of the last row of a page. It is not signed: it only says where to go on in the caller's own
list, so a made-up one finds nothing more than that.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any

import msgspec
import orjson

from accounts.rules import InvalidField
from base.ids import is_uuid

LONGEST_CURSOR = 256


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a list."""

    cursor: (
        Annotated[str, msgspec.Meta(max_length=LONGEST_CURSOR, description="`meta.next_cursor`")] | None
    ) = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class PageMeta(msgspec.Struct, frozen=True, kw_only=True):
    """The `meta` of a list."""

    next_cursor: str | None
    has_more: bool


def encode_cursor(key: tuple[int, str]) -> str:
    return urlsafe_b64encode(orjson.dumps(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[int, str]:
    """The key in a cursor of ours.

    Raises:
        InvalidField: it is not one.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        key = msgspec.convert(orjson.loads(urlsafe_b64decode(padded)), tuple[_Moment, str])
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidField("cursor", "is not one of ours") from error
    if not is_uuid(key[1]):
        raise InvalidField("cursor", "is not one of ours")
    return key


def page_meta(next_key: tuple[int, str] | None) -> dict[str, Any]:
    """The `meta` of a page that goes on after `next_key`; None: it was the last."""
    return {
        "next_cursor": None if next_key is None else encode_cursor(next_key),
        "has_more": next_key is not None,
    }


# Year 9999: beyond it no database has a date.
_Moment = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
