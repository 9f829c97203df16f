"""openapi.yaml as operations with compiled validators: the one keeper of what a request may be."""

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from jsonschema_rs import ValidationError, ValidationErrorKind, Validator, validator_for

FILE = Path(__file__).parents[2] / "openapi.yaml"
THOROUGH = 1024  # bytes of a value of which every fault is told

_METHODS = ("get", "put", "post", "patch", "delete")
_MESSAGES = {
    "type": "must be of type {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} entries",
    "maxProperties": "must have at most {} entries",
    "format": "must be a {}",
}
_NAMES_LIMIT = 10  # of the names that a message repeats


class ContractError(Exception):
    """The contract and the code that serves it do not fit together."""


@frozen
class Input:
    """One place of a request that a schema describes: the parameters of a kind, or the body.

    `names` are the contract's words for fields: a place may be told in these, not in the client's.
    `optional` says that parameters of the kind may all be left out.
    """

    place: str
    schema: Mapping[str, Any]
    validator: Validator
    names: frozenset[str]
    optional: bool

    def faults(self, value: object, size: int = 0) -> list[dict[str, str]]:
        """Return where and why a value of so many bytes does not fit; no fault repeats a part of it.

        To find every fault takes time with the square of their number: of a large value one is told.
        """
        if not value and self.optional:
            return []
        try:
            if self.validator.is_valid(value):
                return []
            if size <= THOROUGH:
                faults = [self._fault(error) for error in self.validator.iter_errors(value)]
                # A key may break two rules of its schema, whose description says both.
                return [fault for place, fault in enumerate(faults) if fault not in faults[:place]]
            self.validator.validate(value)
        except ValidationError as error:
            return [self._fault(error)]
        except ValueError:
            # The validator does not go as deep as the parser.
            pass
        return [{"path": self.place, "message": "is nested too deeply"}]

    def _fault(self, error: ValidationError) -> dict[str, str]:
        """Return an error as a place and a reason, out of the contract's words and not the client's."""
        error = _in_the_form_meant(error)
        steps = [str(step) for step in error.instance_path]
        told = takewhile(lambda step: step in self.names or re.fullmatch("[0-9]{1,10}", step), steps)
        return {"path": ".".join([self.place, *told]), "message": self._message(error)}

    def _message(self, error: ValidationError) -> str:
        """Return the rule that an error breaks, with its limit."""
        match error.kind:
            case ValidationErrorKind.AdditionalProperties(unexpected=names):
                return f"has unknown names: {plain_names(names)}"
            case ValidationErrorKind.PropertyNames(error=inner):
                return f"has a wrong key ({plain_names([str(inner.instance)])}), which {self._form(inner)}"
            case ValidationErrorKind.OneOfNotValid(context=forms):
                return f"must be of type {' or '.join(_types(forms))}"
            case ValidationErrorKind.Required(property=name):
                return f"must have {name}"
            case ValidationErrorKind.Enum(options=choices):
                return f"must be one of {', '.join(map(str, choices))}"
            case _:
                return self._limit_message(error)

    def _limit_message(self, error: ValidationError) -> str:
        """Return the rule that a single value breaks, in the words of its schema."""
        keyword = str(error.schema_path[-1])
        if keyword == "pattern":
            return self._form(error)
        message = _MESSAGES.get(keyword, "does not fit the contract").format(self._schema(error)[keyword])
        for one, unit in (("1 characters", "1 character"), ("1 items", "1 item"), ("1 entries", "1 entry")):
            message = message.replace(f"least {one}", f"least {unit}")
        return message

    def _form(self, error: ValidationError) -> str:
        """Return the description of the schema that a value breaks: a pattern is no help to a person."""
        return f"must match: {' '.join(self._schema(error)['description'].split()).rstrip('.')}"

    def _schema(self, error: ValidationError) -> Mapping[str, Any]:
        """Return the schema that the value breaks."""
        node: Any = self.schema
        for step in error.schema_path[:-1]:
            node = node[step]
        schema: Mapping[str, Any] = node
        return schema


@frozen
class Operation:
    """One operation of the contract; `id` is its operationId in snake_case, as are its `names`.

    `secured` says that it is for callers: it may ask them who they are.
    """

    id: str
    path: str
    method: str
    parameters: Mapping[str, Input]
    body: Input | None
    body_required: bool
    successes: frozenset[int]
    secured: bool

    @property
    def names(self) -> set[str]:
        """The names of everything that the operation takes."""
        names = {snake(name) for kind in self.parameters.values() for name in kind.schema["properties"]}
        return names | {"body"} if self.body else names


def read(file: Path = FILE) -> dict[str, Any]:
    """Return the contract as it is written."""
    return parse(file.read_text())


def parse(text: str) -> dict[str, Any]:
    """Return the contract out of its YAML text."""
    document: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return document


def load(file: Path = FILE) -> list[Operation]:
    """Return the contract's operations in its order."""
    document = read(file)
    return [
        _operation(document, path, method, item[method], item.get("parameters", []))
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]


def snake(name: str) -> str:
    """Return a name of the contract as Python writes it: getSession as get_session, If-Match as if_match."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower().replace("-", "_")


def plain_names(names: Iterable[str]) -> str:
    """Return a client's own names as far as they are plain and few, so that a log or a page can show them."""
    listed = list(names)
    plain = [name for name in listed if re.fullmatch("[A-Za-z0-9_-]{1,64}", name)][:_NAMES_LIMIT]
    others = len(listed) - len(plain)
    return ", ".join(
        [*plain, *([f"{others} more" if plain else f"{others} that cannot be shown"] if others else [])]
    )


def _in_the_form_meant(error: ValidationError) -> ValidationError:
    """Return what is wrong within the only form of the value's own type, where the contract has several."""
    if isinstance(error.kind, ValidationErrorKind.OneOfNotValid):
        forms = [form for form in error.kind.context if not _types([form])]
        if len(forms) == 1:
            return _in_the_form_meant(forms[0][0])
    return error


def _types(forms: Iterable[list[ValidationError]]) -> list[str]:
    """Return the types that forms ask for instead of the value's own."""
    kinds = [error.kind for form in forms for error in form[:1]]
    return [name for kind in kinds if isinstance(kind, ValidationErrorKind.Type) for name in kind.types]


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
        secured=bool(spec.get("security", document["security"])),
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
    objects = [whole, *document["components"]["schemas"].values()]
    names = frozenset(name for described in objects for name in described.get("properties", ()))
    optional = place != "body" and not whole["required"]
    return Input(place, whole, validator_for(whole, validate_formats=True), names, optional)


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return the node that a local $ref stands for."""
    while "$ref" in node:
        steps = node["$ref"].removeprefix("#/").split("/")
        node = document
        for step in steps:
            node = node[step]
    return node
