"""Loads openapi.yaml as operations with compiled JSON Schema validators, which define valid requests."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from session_service import files
from session_service.api.auth.principal import ACCESS
from session_service.api.validation import Input

FILE = files.find("openapi.yaml")

_METHODS = ("get", "put", "post", "patch", "delete")


class ContractError(Exception):
    """A difference between the contract and the code that implements it, found at startup."""


@frozen
class Operation:
    """An operation of the contract; `name` is its operationId, `id` the same in snake_case.

    `parameters` are the inputs by `path`, `query` and `header`. `successes` are the declared statuses below
    400. `access` has the scopes that allow the operation, and `learner`; it is empty if no token is needed.
    `needed_headers` has the header that a body with a field needs, by the field: `x-needs-header`.
    """

    id: str
    name: str
    path: str
    method: str
    parameters: Mapping[str, Input]
    body: Input | None
    body_required: bool
    successes: frozenset[int]
    access: frozenset[str]
    needed_headers: Mapping[str, str]

    @property
    def secured(self) -> bool:
        """Whether requests are authenticated, if AUTH is set."""
        return bool(self.access)

    @property
    def names(self) -> set[str]:
        """The names of all parameters in snake_case, and `body` if there is one."""
        names = {snake(name) for kind in self.parameters.values() for name in kind.schema["properties"]}
        return names | {"body"} if self.body else names


def read(file: Path = FILE) -> dict[str, Any]:
    """Return the contract as a document, with its references."""
    return parse(file.read_text())


def parse(text: str) -> dict[str, Any]:
    """Parse the YAML text of the contract."""
    document: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return document


def load(file: Path = FILE) -> list[Operation]:
    """Return the operations in the contract's order."""
    document = read(file)
    return [
        _operation(document, path, method, item[method], item.get("parameters", []))
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]


def version(file: Path = FILE) -> str:
    """Return the version of the contract, which is that of the service."""
    declared: str = read(file)["info"]["version"]
    return declared


def claims(file: Path = FILE) -> Input:
    """Return the declaration of the token's claims that decide its access."""
    components = read(file)["components"]
    declared = components["securitySchemes"]["bearer"]["x-claims"]
    return Input.build(components, "token", {"properties": declared, "required": list(declared)})


def snake(name: str) -> str:
    """Return a name of the contract in snake_case: getSession as get_session, If-Match as if_match."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower().replace("-", "_")


def _operation(
    document: dict[str, Any], path: str, method: str, spec: dict[str, Any], shared: list[dict[str, Any]]
) -> Operation:
    listed = [_resolved(document, parameter) for parameter in shared + spec.get("parameters", [])]
    body = _body_schema(document, spec)
    return Operation(
        id=snake(spec["operationId"]),
        name=spec["operationId"],
        path=path,
        method=method.upper(),
        parameters={kind: _parameters(document, kind, listed) for kind in ("path", "query", "header")},
        body=Input.build(document["components"], "body", body) if body else None,
        body_required=bool(spec.get("requestBody", {}).get("required")),
        successes=frozenset(int(status) for status in spec["responses"] if status < "4"),
        access=_access(spec, secured=bool(spec.get("security", document["security"]))),
        needed_headers={
            name: field["x-needs-header"]
            for name, field in body.get("properties", {}).items()
            if "x-needs-header" in field
        },
    )


def _access(spec: dict[str, Any], *, secured: bool) -> frozenset[str]:
    """Return `x-access`; raise ContractError if a secured operation has none, or another one has any."""
    access = frozenset(spec.get("x-access", ()))
    if bool(access) != secured or not access <= ACCESS:
        expected = f"some of {sorted(ACCESS)}" if secured else "absent"
        raise ContractError(f"{spec['operationId']}: x-access must be {expected}")
    return access


def _parameters(document: dict[str, Any], kind: str, listed: list[dict[str, Any]]) -> Input:
    """Return the operation's parameters of a kind as one object schema; unknown names are violations."""
    listed = [parameter for parameter in listed if parameter["in"] == kind]
    schema = {
        "type": "object",
        # Requests have many headers that no operation declares.
        "additionalProperties": kind == "header",
        "required": [parameter["name"] for parameter in listed if parameter.get("required")],
        "properties": {parameter["name"]: _resolved(document, parameter["schema"]) for parameter in listed},
    }
    return Input.build(document["components"], kind, schema)


def _body_schema(document: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the operation's body; an empty one if it takes none."""
    if "requestBody" not in spec:
        return {}
    return _resolved(document, spec["requestBody"]["content"]["application/json"]["schema"])


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return the target of a local $ref with the node's other keywords, or the node itself."""
    while "$ref" in node:
        target = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = {**target, **{name: value for name, value in node.items() if name != "$ref"}}
    return node
