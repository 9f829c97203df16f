"""openapi.yaml as operations with compiled validators: the one keeper of what a request may be."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from jsonschema_rs import Validator, validator_for

FILE = Path(__file__).parents[1] / "openapi.yaml"

_METHODS = ("get", "put", "post", "patch", "delete")
_MESSAGES = {
    "type": "has to be of type {}",
    "const": "has to be {}",
    "enum": "has to be one of {}",
    "minimum": "has to be at least {}",
    "maximum": "has to be at most {}",
    "minLength": "has to have at least {} characters",
    "maxLength": "has to have at most {} characters",
    "minItems": "has to have at least {} items",
    "maxItems": "has to have at most {} items",
    "minProperties": "has to have at least {} entries",
    "maxProperties": "has to have at most {} entries",
    "pattern": "has to match {}",
    "format": "has to be a {}",
    "oneOf": "has none of the forms that the contract allows",
    "anyOf": "has none of the forms that the contract allows",
    "additionalProperties": "has a field that the contract does not have",
    "propertyNames": "has a key that the contract does not allow",
}


class ContractError(Exception):
    """The contract and the code that serves it do not fit together."""


@frozen
class Input:
    """One place of a request that a schema describes: the parameters of a kind, or the body."""

    place: str
    schema: Mapping[str, Any]
    validator: Validator

    def faults(self, value: object) -> list[dict[str, str]]:
        """Return where and why the value does not fit; no fault repeats a part of it."""
        if self.validator.is_valid(value):
            return []
        errors = self.validator.iter_errors(value)
        return [_fault(self.place, error.instance_path, error.schema_path, self.schema) for error in errors]


@frozen
class Operation:
    """One operation of the contract; `id` is its operationId in snake_case, as are its `names`."""

    id: str
    path: str
    method: str
    parameters: Mapping[str, Input]
    body: Input | None
    body_required: bool
    successes: frozenset[int]

    @property
    def names(self) -> set[str]:
        """The names of everything that the operation takes."""
        names = {snake(name) for kind in self.parameters.values() for name in kind.schema["properties"]}
        return names | {"body"} if self.body else names


def load(file: Path = FILE) -> list[Operation]:
    """Return the contract's operations in its order."""
    document = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    return [
        _operation(document, path, method, item[method], item.get("parameters", []))
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]


def snake(name: str) -> str:
    """Return a name of the contract as Python writes it: getSession as get_session, If-Match as if_match."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower().replace("-", "_")


def _operation(
    document: dict[str, Any], path: str, method: str, spec: dict[str, Any], shared: list[dict[str, Any]]
) -> Operation:
    listed = [_resolved(document, parameter) for parameter in shared + spec.get("parameters", [])]
    body = spec.get("requestBody")
    return Operation(
        id=snake(spec["operationId"]),
        path=path,
        method=method.upper(),
        parameters={kind: _parameters(document, kind, listed) for kind in ("path", "query", "header")},
        body=_input(document, "body", body["content"]["application/json"]["schema"]) if body else None,
        body_required=bool(body and body.get("required")),
        successes=frozenset(int(status) for status in spec["responses"] if status < "4"),
    )


def _parameters(document: dict[str, Any], kind: str, listed: list[dict[str, Any]]) -> Input:
    """Return the operation's parameters of a kind as one object that takes no others."""
    listed = [parameter for parameter in listed if parameter["in"] == kind]
    schema = {
        "type": "object",
        # Every request has headers that are not the operation's business.
        "additionalProperties": kind == "header",
        "required": [parameter["name"] for parameter in listed if parameter.get("required")],
        "properties": {parameter["name"]: _resolved(document, parameter["schema"]) for parameter in listed},
    }
    return _input(document, kind, schema)


def _input(document: dict[str, Any], place: str, schema: dict[str, Any]) -> Input:
    whole = {**schema, "components": document["components"]}
    return Input(place, whole, validator_for(whole, validate_formats=True))


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return the node that a local $ref stands for."""
    while "$ref" in node:
        steps = node["$ref"].removeprefix("#/").split("/")
        node = document
        for step in steps:
            node = node[step]
    return node


def _fault(place: str, instance: list[Any], rule: list[Any], schema: Mapping[str, Any]) -> dict[str, str]:
    keyword, limit = str(rule[-1]), schema
    for step in rule:
        limit = limit[step]
    message = _MESSAGES.get(keyword, "does not fit the contract").format(limit)
    if keyword == "required":
        message = f"has to have {', '.join(limit)}"
    return {"path": ".".join([place, *map(str, instance)]), "message": message}
