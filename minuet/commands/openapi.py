"""`minuet openapi`: the REST API as OpenAPI 3.1."""

import argparse
from typing import Any

import orjson

from minuet.telemetry import release
from rest.app import ENDPOINTS
from rest.openapi import document


def add(commands: Any) -> None:
    commands.add_parser("openapi", help="print the OpenAPI document").set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    print(orjson.dumps(document(ENDPOINTS, release()), option=orjson.OPT_INDENT_2).decode())
    return 0
