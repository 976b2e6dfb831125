"""`minuet asyncapi`: the WebSocket protocol as AsyncAPI 3.0."""

import argparse
from typing import Any

import orjson

from minuet.reference.asyncapi import asyncapi_document
from minuet.telemetry import release


def add(commands: Any) -> None:
    commands.add_parser("asyncapi", help="print the AsyncAPI document").set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    print(orjson.dumps(asyncapi_document(release()), option=orjson.OPT_INDENT_2).decode())
    return 0
