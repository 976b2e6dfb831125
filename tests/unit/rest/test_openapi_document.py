"""The OpenAPI document says what is served."""

import json
from typing import Any

import pytest

from base.errors import ERROR_SPECS, ErrorCode
from rest.app import ENDPOINTS
from rest.endpoints import Endpoint
from rest.openapi import document
from rest.policies import Policy

DOCUMENT = document(ENDPOINTS, "1.2.3")


def operation(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    return found


def references(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(references(inner) for inner in value))
    return set()


def test_it_is_json_of_version_3_1() -> None:
    """With the server's own version in it."""
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_reference_leads_somewhere() -> None:
    """No dangling names."""
    found = [*references(DOCUMENT)]

    assert found
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]


def test_names_of_operations_are_unique() -> None:
    """Generated clients are called by them."""
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_is_described(endpoint: Endpoint) -> None:
    """Its policy, parameters, body, success and each refusal by status."""
    described = operation(endpoint)

    assert described["x-policy"] == endpoint.policy.value
    assert described["security"] == ([] if endpoint.policy is Policy.PUBLIC else [{"bearer": []}])
    assert ("requestBody" in described) == (endpoint.body is not None)
    assert str(endpoint.status) in described["responses"]
    for code in (*endpoint.errors, ErrorCode.INTERNAL, ErrorCode.RATE_LIMITED):
        assert f"`{code}`" in described["responses"][str(ERROR_SPECS[code].status)]["description"]
    in_path = [one["name"] for one in described.get("parameters", []) if one["in"] == "path"]
    assert all(f"{{{name}}}" in endpoint.path for name in in_path)
    assert len(in_path) == endpoint.path.count("{")


def test_parameters_of_a_list_have_their_bounds() -> None:
    """A generated client refuses what the server would."""
    [listing] = [endpoint for endpoint in ENDPOINTS if endpoint.name == "listInteractions"]
    by_name = {one["name"]: one for one in operation(listing)["parameters"]}

    assert by_name["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert not by_name["cursor"]["required"]
