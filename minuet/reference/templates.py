"""Configuration templates, made from the settings class."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from minuet.reference.pages import described
from minuet.settings import PREFIX, SECRETS, RateLimitSettings, Settings


def default_toml() -> str:
    """A TOML file of every setting at its default; what has none is a comment."""
    lines = ["# Every setting of Minuet at its default. Name this file in MINUET_CONFIG.", ""]
    for field in msgspec.structs.fields(Settings):
        if field.name in ("rate_limits", "intents"):
            continue
        lines.append(f"# {described(field.type)}")
        lines += [_toml_line(field.name, field.default), ""]
    lines.append("[rate_limits]")
    for field in msgspec.structs.fields(RateLimitSettings):
        lines += [f"# {described(field.type)}", _toml_line(field.name, field.default)]
    for name, policy in Settings().intents.items():
        lines += ["", f"[intents.{name}]"]
        lines += [_toml_line(key, value) for key, value in msgspec.to_builtins(policy).items()]
    return "\n".join(lines) + "\n"


def default_environment() -> str:
    """Every environment variable, commented out at its default."""
    return "\n".join(_environment()) + "\n"


def _environment() -> Iterator[str]:
    for field in msgspec.structs.fields(Settings):
        if field.name == "intents":
            continue
        if field.name == "rate_limits":
            for limit in msgspec.structs.fields(RateLimitSettings):
                yield f"# {described(limit.type)}"
                yield f"#{PREFIX}RATE_LIMITS_{limit.name.upper()}={limit.default}"
            continue
        yield f"# {described(field.type)}"
        yield f"#{PREFIX}{field.name.upper()}={_plain(field.default)}"
        if field.name in SECRETS:
            yield f"#{PREFIX}{field.name.upper()}_FILE="
    yield "# A TOML file; `[intents.<name>]` can only be set there."
    yield f"#{PREFIX}CONFIG="


def _toml_line(name: str, value: Any) -> str:
    if value is None:
        return f'# {name} = ""'
    return f"{name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}"


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return ",".join(value) if isinstance(value, tuple) else str(value)
