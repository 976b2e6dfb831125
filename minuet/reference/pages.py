"""The reference pages that are made from code, so that they cannot drift from it.

`python -m minuet docs` writes them; `--check` fails where a page on disk is another.
"""

import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import msgspec

from base.errors import CLOSE_MEANINGS, ERROR_SPECS
from base.policy import IntentPolicy
from minuet.reference.metrics import metrics_page
from minuet.settings import PREFIX, SECRETS, RateLimitSettings, Settings
from signaling.call.describe import states_markdown
from signaling.protocol.messages.family import ClientMessage, ServerMessage
from signaling.protocol.schema import CLIENT_MESSAGES, SERVER_MESSAGES

_MADE = "<!-- Made by `python -m minuet docs` from the code; edit that instead. -->\n"


def errors_page() -> str:
    """Every error code and close code."""
    lines = [
        "# Errors",
        "",
        _MADE,
        "One closed list for WebSocket (`error {id, data: {code, message, retryable, retry_after_ms?}}`) and REST",
        '(`{"success": false, "error": {"code", "message", "details", "request_id"}}`). Programs look at `code`;',
        "`message` is for people and may change.",
        "",
        "| code | meaning | what a client does | retryable | HTTP |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{code}` | {spec.meaning} | {spec.client_action} | {'yes' if spec.retryable else 'no'} | {spec.status} |"
        for code, spec in ERROR_SPECS.items()
    ]
    lines += [
        "",
        "## WebSocket close codes",
        "",
        "4000 to 4499: reconnect (with jitter). 4500 to 4999: do not.",
        "",
        "| code | name | meaning | reconnect |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {int(code)} | {code.name.lower()} | {meaning} | {'yes' if code.may_reconnect else 'no'} |"
        for code, meaning in CLOSE_MEANINGS.items()
    ]
    lines += [
        "",
        "Codes of RFC 6455 are used as it says: 1002 for broken framing, 1007 for text that is not UTF-8, 1009 for",
        "a message above the limit (4 kB before the session starts, 64 kB after).",
        "",
    ]
    return "\n".join(lines)


def messages_page() -> str:
    """Every message with its fields."""
    lines = [
        "# Messages",
        "",
        _MADE,
        "The `data` of each message; the envelope and the rules around it are in [protocol.md](protocol.md).",
        "Ids are UUIDs in text, names ending in `_at` are milliseconds since the Unix epoch.",
        "",
        "## From the client",
        "",
    ]
    lines += _messages(CLIENT_MESSAGES)
    lines += ["## From the server", ""]
    lines += _messages(SERVER_MESSAGES)
    lines += ["## Parts", ""]
    seen: dict[str, type] = {}
    for message in (*CLIENT_MESSAGES.values(), *SERVER_MESSAGES.values()):
        for part in _parts(message):
            seen.setdefault(part.__name__, part)
    for name, part in sorted(seen.items()):
        if not issubclass(part, ClientMessage | ServerMessage):
            lines += [f"### {name}", "", _first_line(part), "", *_fields_table(part), ""]
    return "\n".join(lines)


def settings_page() -> str:
    """Every setting, and every value of an intent's policy."""
    lines = [
        "# Settings",
        "",
        _MADE,
        "Later ones win: defaults, the TOML file named by `MINUET_CONFIG`, the environment. Unknown keys are errors.",
        "Lists are separated by commas in the environment. A secret can be read from a file: `MINUET_<NAME>_FILE`.",
        "",
        "| TOML key | environment | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for field in msgspec.structs.fields(Settings):
        if field.name in ("intents", "rate_limits"):
            continue
        env = f"`{PREFIX}{field.name.upper()}`" + (" (or `_FILE`)" if field.name in SECRETS else "")
        lines.append(f"| `{field.name}` | {env} | {_shown(field.default)} | {described(field.type)} |")
    lines += [
        f"| `rate_limits.{field.name}` | `{PREFIX}RATE_LIMITS_{field.name.upper()}` | {_shown(field.default)} |"
        f" {described(field.type)} |"
        for field in msgspec.structs.fields(RateLimitSettings)
    ]
    lines += [
        "",
        "## `[intents.<name>]`",
        "",
        '`dating` (`control = "female"`, `pairing = "dating"`) and `friends` (`control = "mutual"`) exist by',
        "default; a table of the same name changes only what it names, another name adds an intent.",
        "",
        "| key | type | default |",
        "| --- | --- | --- |",
    ]
    for field in msgspec.structs.fields(IntentPolicy):
        lines.append(f"| `{field.name}` | {_type_name(field.type)} | {_shown(field.default)} |")
    lines.append("")
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "messages.md": messages_page,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
    "states.md": states_markdown,
}


def _messages(registry: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for type_, message in registry.items():
        notes = []
        if issubclass(message, ServerMessage) and not message.RELIABLE:
            notes.append("Not numbered.")
        if issubclass(message, ClientMessage) and not message.NEEDS_ID:
            notes.append("Needs no `id`.")
        lines += [f"### `{type_}`", "", " ".join([_first_line(message), *notes]), ""]
        table = _fields_table(message)
        lines += [*table, ""] if table else []
    return lines


def _fields_table(struct: type) -> list[str]:
    fields = msgspec.structs.fields(struct)
    if not fields:
        return []
    rows = ["| field | type | needed |", "| --- | --- | --- |"]
    return rows + [
        f"| `{field.encode_name}` | {_type_name(field.type)} | {'yes' if field.required else 'no'} |"
        for field in fields
    ]


def _parts(struct: type) -> Iterator[type]:
    for field in msgspec.structs.fields(struct):
        yield from _parts_of(field.type)


def _parts_of(kind: Any) -> Iterator[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        yield from _parts(kind)
    for inner in get_args(kind):
        if not isinstance(inner, str | int | msgspec.Meta):
            yield from _parts_of(inner)


def _type_name(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is typing.Annotated:
        inner, *metas = get_args(kind)
        bounds = [text for meta in metas if isinstance(meta, msgspec.Meta) for text in _bounds(meta)]
        return _type_name(inner) + (f" ({', '.join(bounds)})" if bounds else "")
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(part) for part in get_args(kind))
    if origin in (list, tuple):
        return f"list of {_type_name(get_args(kind)[0])}"
    if origin is dict:
        return f"map of {_type_name(get_args(kind)[1])}"
    if kind is type(None):
        return "null"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if isinstance(kind, type) and hasattr(kind, "__members__"):
        return " or ".join(f"`{member.value}`" for member in kind)  # type: ignore[attr-defined]  # an Enum
    return {"str": "text", "int": "integer", "float": "number", "bool": "yes or no"}.get(
        getattr(kind, "__name__", str(kind)), "anything"
    )


def _bounds(meta: msgspec.Meta) -> Iterator[str]:
    for name, text in (
        ("ge", "at least {}"),
        ("gt", "above {}"),
        ("le", "at most {}"),
        ("min_length", "at least {} long"),
        ("max_length", "at most {} long"),
    ):
        value = getattr(meta, name)
        if value is not None:
            yield text.format(value)


def described(kind: Any) -> str:
    for meta in get_args(kind)[1:]:
        if isinstance(meta, msgspec.Meta) and meta.description:
            return str(meta.description)
    return ""


def _shown(default: Any) -> str:
    if default is None:
        return "not set"
    if default == () or default is msgspec.NODEFAULT:
        return "empty"
    if isinstance(default, tuple):
        return ", ".join(f"{value:g}" for value in default)
    return f"`{default}`"


def _first_line(struct: type) -> str:
    return (struct.__doc__ or "").strip().splitlines()[0]
