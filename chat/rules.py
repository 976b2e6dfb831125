"""What may be said, and what is refused. Pure."""

from unicodedata import category

from base.errors import ErrorCode, MinuetError

MAX_BODY = 2_000
"""Characters (code points)."""
MAX_WATCHED = 100
"""Connections of which one session may know who is there."""

_ALLOWED_CONTROLS = frozenset("\n\t")


class NotConnected(MinuetError):
    """There is no such connection, or it is not the caller's, or it has ended: the three are not told apart."""

    code = ErrorCode.NOT_CONNECTED


class UnfitBody(MinuetError):
    """The text is empty, or has characters that no text has."""

    code = ErrorCode.INVALID_MESSAGE


class BodyTooLong(MinuetError):
    """The text is over its limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE


class ClientIdReused(MinuetError):
    """The sender has said something else under this `client_id`."""

    code = ErrorCode.CONFLICT


class TooManyWatched(MinuetError):
    """The session watches as many as it may."""

    code = ErrorCode.LIMIT_REACHED


def fit_body(body: str) -> str:
    """The text as it is kept: without white space at its ends.

    Raises:
        UnfitBody: nothing is left that shows, or there are control characters other than tab and line feed, or halves of surrogates.
        BodyTooLong: over `MAX_BODY` characters are left.
    """
    fit = body.replace("\r\n", "\n").strip()
    if not fit:
        raise UnfitBody("body: is empty")
    if len(fit) > MAX_BODY:
        raise BodyTooLong(f"body: has more than {MAX_BODY} characters")
    # `isprintable` settles nearly every text at once; only what it doubts is looked at one by one.
    if not fit.isprintable():
        if any(_is_forbidden(character) for character in fit):
            raise UnfitBody("body: has control characters")
        if not any(_shows(character) for character in fit):
            raise UnfitBody("body: is empty")
    return fit


def read_mark(before: int, asked: int, last_number: int) -> int:
    """Where a read mark stands after somebody asked to move it: it only rises, and not beyond the last message."""
    return max(before, min(asked, last_number))


def _shows(character: str) -> bool:
    # Cf: joiners, marks of direction, zero-width spaces. They belong into texts, but are none by themselves.
    return category(character) != "Cf" and not character.isspace()


def _is_forbidden(character: str) -> bool:
    # Cc: C0 and C1 controls and DEL. Cs: halves of surrogate pairs, which UTF-8 cannot hold.
    return character not in _ALLOWED_CONTROLS and category(character) in ("Cc", "Cs")
