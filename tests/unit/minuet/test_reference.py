"""What is made from code: the documents are whole, and the pages in docs/ are current."""

from pathlib import Path
from typing import Any

import orjson

from base.errors import CLOSE_MEANINGS, ERROR_SPECS, CloseCode, ErrorCode
from minuet.reference.asyncapi import asyncapi_document
from minuet.reference.pages import PAGES
from signaling.protocol.schema import CLIENT_MESSAGES, SERVER_MESSAGES

ROOT = Path(__file__).parents[3]


def test_every_code_has_a_meaning() -> None:
    """The lists are closed and complete."""
    assert set(ERROR_SPECS) == set(ErrorCode)
    assert set(CLOSE_MEANINGS) == set(CloseCode)


def test_the_pages_in_docs_are_what_the_code_says() -> None:
    """`python -m minuet docs` writes them."""
    stale = [name for name, make in PAGES.items() if (ROOT / "docs" / name).read_text() != make()]

    assert stale == []


def test_every_message_is_in_the_asyncapi_document_and_every_reference_leads_somewhere() -> None:
    """No dangling $ref, no message without payload."""
    document = orjson.loads(orjson.dumps(asyncapi_document("1")))

    names = {message["name"] for message in document["components"]["messages"].values()}
    assert names == set(CLIENT_MESSAGES) | set(SERVER_MESSAGES)
    for reference in _references(document):
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [ref for value in node.values() for ref in _references(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in _references(value)]
    return []
