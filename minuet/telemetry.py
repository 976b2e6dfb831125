"""Logs and the metrics registry of one process."""

import logging
import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from minuet.settings import Settings

# What a description or a token looks like, and what people write, must never reach a log, however it got into an event.
_PRIVATE_KEYS = frozenset(
    (
        "sdp",
        "candidate",
        "candidates",
        "token",
        "access_token",
        "refresh_token",
        "password",
        "authorization",
        "body",
        "note",
    )
)


def configure_logs(settings: Settings, *, worker: int | None = None) -> None:
    """Sends structured events to standard error, in the format and from the level of the settings.

    `worker` is this process's number where it is one of several; each of its lines says so.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_private,
    ]
    if worker is not None:
        shared.append(_numbered(worker))
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            sort_keys=False,
            # The prettier formatters print local variables, passwords among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if settings.log_format == "json":
        last.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_without_request)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*last, renderer])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line per HTTP request is the middleware's, with the request id.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def new_registry(role: str) -> CollectorRegistry:
    """A registry with the process's own figures and `minuet_build_info`."""
    # A series of creation times beside each counter doubles the page and tells nobody anything.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own annotation is missing
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    build_info(registry, role)
    return registry


def build_info(registry: CollectorRegistry, role: str) -> None:
    """Registers `minuet_build_info`."""
    gauge = Gauge(
        "minuet_build_info",
        "1, with the release that runs and its role.",
        ["version", "role"],
        registry=registry,
    )
    gauge.labels(release(), role).set(1)


def release() -> str:
    """The version of the installed package; `dev` in a checkout that is not installed."""
    try:
        return version("minuet")
    except PackageNotFoundError:
        return "dev"


def _numbered(worker: int) -> structlog.typing.Processor:
    def number(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("worker", worker)
        return event

    return number


def _without_request(record: logging.LogRecord) -> bool:
    """Takes addresses and bytes of a request out of what aiohttp says about it.

    It names the client, and its exceptions quote the header or target that they stumble over: a token, as often as not.
    Errors of our own handlers are not meant: our middleware logs those, with all they say.
    """
    if not record.name.startswith("aiohttp."):
        return True
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        # Where it happened shows a mistake of ours just as well as what it says, and says nothing of anybody.
        where = "".join(traceback.format_tb(error.__traceback__)).rstrip()
        record.msg = f"request could not be handled: {type(error).__name__}"
        if not isinstance(error, HttpProcessingError):
            record.msg += f"\n{where}"
    elif record.args:
        record.msg = "request could not be handled"
    record.args, record.exc_info, record.exc_text = (), None, None
    return True


def _drop_private(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for key in _PRIVATE_KEYS & event.keys():
        event[key] = "[private]"
    return event
