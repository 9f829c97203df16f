"""The examples in the contract, by the operation, parameter, response or header that they belong to."""

from collections.abc import Iterator
from typing import Any

from tests.support.conformance import DOCUMENT, PATHS, resolved

COMPONENTS = DOCUMENT["components"]
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, item in PATHS.items()
    for method, operation in item.items()
}

# Keys: `operation.example`, `operation.parameter`, `response.example`, `header`.
REQUESTS = {
    f"{operation}.{name}": resolved(example)["value"]
    for operation, (_, _, spec) in OPERATIONS.items()
    for media in spec.get("requestBody", {}).get("content", {}).values()
    for name, example in media.get("examples", {}).items()
}
PARAMETERS = {
    f"{operation}.{parameter['name']}": {**resolved(parameter["schema"]), **parameter}
    for operation, (_, path, spec) in OPERATIONS.items()
    for parameter in map(resolved, DOCUMENT["paths"][path].get("parameters", []) + spec.get("parameters", []))
}
RESPONSES = {
    f"{response}.{name}": resolved(example)["value"]
    for response, spec in COMPONENTS["responses"].items()
    for media in spec.get("content", {}).values()
    for name, example in media.get("examples", {}).items()
}
HEADERS = {
    name: resolved(header)["example"]
    for spec in COMPONENTS["responses"].values()
    for name, header in spec["headers"].items()
    if "example" in resolved(header)
}


def nodes(node: object) -> Iterator[dict[str, Any]]:
    """Return every object of the document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(inner)
