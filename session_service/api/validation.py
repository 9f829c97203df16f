"""Validates requests against the contract's schemas, and words each violation for people."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen
from jsonschema_rs import ValidationError, ValidationErrorKind, Validator, validator_for

from session_service.sessions import codec

if TYPE_CHECKING:
    from jsonschema_rs import KeywordValidator

FULL_REPORT_LIMIT = 1024  # size of the largest value whose violations are all reported, in bytes

_MESSAGES = {
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
    "x-max-bytes": "must have at most {} bytes as JSON",
    "x-max-depth": "must have at most {} levels of arrays and objects",
}
_TYPES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a text",
}
# Keywords that say the same of a value: one message of each group is enough.
_GROUPS = {
    "minimum": "minimum",
    "pattern": "pattern",
    "format": "pattern",
    "type": "type",
    "enum": "type",
}
_TOO_DEEP = "must have at most 64 levels of arrays and objects in each value"
_MAX_SHOWN_NAMES = 10  # unknown names that a message repeats
_PLAIN_NAME = re.compile("[A-Za-z0-9_-]{1,64}")


class _MaxBytes:
    """The keyword `x-max-bytes`: the largest length of a value as JSON in UTF-8 without white space."""

    def __init__(self, _schema: object, limit: int, _path: object) -> None:
        self._limit = limit

    def validate(self, instance: object) -> None:
        if codec.size(instance) > self._limit:
            raise ValueError(f"more than {self._limit} bytes")


class _MaxDepth:
    """The keyword `x-max-depth`: the largest number of arrays and objects that contain each other."""

    def __init__(self, _schema: object, limit: int, _path: object) -> None:
        self._limit = limit

    def validate(self, instance: object) -> None:
        level: list[Any] = [[instance]]
        for _ in range(self._limit + 1):
            level = codec.containers_in(level)
            if not level:
                return
        raise ValueError(f"more than {self._limit} levels")


_KEYWORDS: "dict[str, type[KeywordValidator]]" = {"x-max-bytes": _MaxBytes, "x-max-depth": _MaxDepth}


@frozen
class Input:
    """A validated part of a request: all path, query or header parameters, or the body.

    `place` is `path`, `query`, `header` or `body`. `required` are the names that a request must have.
    """

    place: str
    schema: Mapping[str, Any]
    validator: Validator
    required: frozenset[str]

    @classmethod
    def build(cls, components: Mapping[str, Any], place: str, schema: Mapping[str, Any]) -> "Input":
        """Compile a schema of the contract, whose references are resolved within `components`."""
        needed = {"schemas": _referenced(schema, components["schemas"])}
        whole = _without_one_of({**schema, "components": needed})
        validator = validator_for(whole, validate_formats=True, keywords=_KEYWORDS)
        return cls(place, whole, validator, frozenset(schema.get("required", ())))

    def violations(self, value: object, size: int = 0) -> list[dict[str, str]]:
        """Return `path` and `message` of each violation; no message repeats a part of the value.

        `size` is the length of the value's JSON text in bytes. The time to find all violations grows with the
        square of their number: for a value of more than 1 KiB only the first one is reported.
        """
        if not value and self.place != "body" and not self.required:
            return []
        try:
            errors = self._errors(value) if size <= FULL_REPORT_LIMIT else self._first(value)
            found: dict[tuple[str, str], dict[str, str]] = {}
            for error in errors:
                item = self._violation(value, error)
                rule = _GROUPS.get(str(error.schema_path[-1]), item["message"])
                found.setdefault((item["path"], rule), item)
        except (ValueError, RecursionError):
            # The recursion limits of the validator and of Python are lower than the parser's.
            return [{"path": self.place, "message": _TOO_DEEP}]
        return list(found.values())

    def _errors(self, value: object) -> Iterable[ValidationError]:
        return () if self.validator.is_valid(value) else self.validator.iter_errors(value)

    def _first(self, value: object) -> list[ValidationError]:
        try:
            self.validator.validate(value)
        except ValidationError as error:
            return [error]
        return []

    def _violation(self, value: object, error: ValidationError) -> dict[str, str]:
        """Return the path and the message of an error, without values of the client."""
        places = list(_places(value, error.instance_path))
        steps, node = next((place for place in places if place[1] == error.instance), places[0])
        return {"path": ".".join([self.place, *steps]), "message": self._message(error, node)}

    def _message(self, error: ValidationError, node: object) -> str:
        """Return the message for the rule that the value `node` violates, with its limit."""
        match error.kind:
            case ValidationErrorKind.AdditionalProperties(unexpected=names):
                return f"has unknown names: {plain_names(names)}"
            case ValidationErrorKind.PropertyNames(error=inner):
                assert isinstance(node, dict)
                key = _shown_key(node, str(inner.instance))
                return f"has a wrong key ({key}): it {self._message(inner, inner.instance)}"
            case ValidationErrorKind.Required(property=name):
                return f"must have {name}"
            case _:
                return self._rule(error)

    def _rule(self, error: ValidationError) -> str:
        """Return the message for a rule about the value itself."""
        match error.kind:
            case ValidationErrorKind.Enum(options=choices):
                return f"must be one of {', '.join(map(str, choices))}"
            case ValidationErrorKind.Type(types=types):
                return _type_message([*types, *(["null"] if _may_be_null(error) else [])])
            case ValidationErrorKind.Not():
                return self._forbidden(error)
            case _:
                return self._limit(error)

    def _limit(self, error: ValidationError) -> str:
        """Return the message for a violated limit or pattern."""
        keyword = str(error.schema_path[-1])
        schema = self._schema(error)
        if keyword == "pattern":
            return f"must be {_description(schema)}"
        message = _MESSAGES[keyword].format(schema[keyword])
        for one, unit in (("1 characters", "1 character"), ("1 items", "1 item"), ("1 entries", "1 entry")):
            message = message.replace(f"least {one}", f"least {unit}")
        return message

    def _forbidden(self, error: ValidationError) -> str:
        """Return the message for a `not`: its constant, or the description, which is the message itself."""
        schema = self._schema(error)
        return f"must not be {schema['not']['const']}" if "const" in schema["not"] else _description(schema)

    def _schema(self, error: ValidationError) -> Mapping[str, Any]:
        """Return the violated schema."""
        node: Any = self.schema
        for step in error.schema_path[:-1]:
            node = node[step]
        schema: Mapping[str, Any] = node
        return schema


def plain_names(names: Iterable[str]) -> str:
    """Return client-supplied names as text that is safe in logs and pages.

    The text has at most 10 names, of letters, digits, `_` and `-` only, and the number of the others.
    """
    listed = list(names)
    plain = [name for name in listed if _PLAIN_NAME.fullmatch(name)][:_MAX_SHOWN_NAMES]
    others = len(listed) - len(plain)
    return ", ".join(
        [*plain, *([f"{others} more" if plain else f"{others} that cannot be shown"] if others else [])]
    )


def _shown_key(node: dict[str, object], key: str) -> str:
    """Return a key of the object; one that is not plain as `#` and its place, from 1."""
    return key if _PLAIN_NAME.fullmatch(key) else f"#{list(node).index(key) + 1}"


def _places(value: object, path: Sequence[str | int]) -> Iterator[tuple[list[str], object]]:
    """Yield the steps to each place in the value that the validator's path may mean, and the value there.

    The validator gives a key such as `7`, `+7` or `007` as the integer 7, and leaves out an empty key.
    """
    if not path:
        yield [], value
    for step, member, rest in _next_steps(value, path):
        for steps, node in _places(member, rest):
            yield [step, *steps], node


def _next_steps(
    value: object, path: Sequence[str | int]
) -> Iterator[tuple[str, object, Sequence[str | int]]]:
    """Yield each step that may be the first of the path: as it is shown, its member, and the rest."""
    if isinstance(value, dict):
        for key, member in value.items():
            if key == "":
                yield _shown_key(value, key), member, path
            elif path and (key == path[0] or _is_index(key, path[0])):
                yield _shown_key(value, key), member, path[1:]
    elif isinstance(value, list) and path and isinstance(path[0], int) and path[0] < len(value):
        yield str(path[0]), value[path[0]], path[1:]


def _is_index(key: str, step: str | int) -> bool:
    return re.fullmatch(r"\+?0*([0-9]+)", key) is not None and (key.lstrip("+0") or "0") == str(step)


def _type_message(types: Iterable[str]) -> str:
    return f"must be {' or '.join(_TYPES[name] for name in types)}"


def _description(schema: Mapping[str, Any]) -> str:
    """Return the first sentence of a violated schema's description: it is clearer than its pattern."""
    text = " ".join(schema["description"].split()).split(". ")[0].rstrip(".")
    return text[0].lower() + text[1:]


def _referenced(schema: object, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas to which the schema refers, also through others.

    With all schemas of the contract, the validators of a process took 80 MiB.
    """
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, Mapping):
            waiting += node.values()
            name = str(node.get("$ref", "")).removeprefix("#/components/schemas/")
            if name in schemas and name not in found:
                found[name] = schemas[name]
                waiting.append(found[name])
    return found


def _without_one_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with each `oneOf` of a form and null as a condition.

    The validator collects all violations within each form of a `oneOf`, each with a copy of its value: their
    memory grows with the square of the size of a body.
    """
    changed = {name: _inner_without_one_of(inner) for name, inner in schema.items()}
    match changed:
        case {"oneOf": [form, {"type": "null"}]}:
            del changed["oneOf"]
            # In `allOf`, so that the path of an error shows it: see _may_be_null.
            changed["allOf"] = [{"if": {"type": "null"}, "else": form}]
    return changed


def _inner_without_one_of(inner: object) -> object:
    if isinstance(inner, dict):
        return _without_one_of(inner)
    return [_inner_without_one_of(one) for one in inner] if isinstance(inner, list) else inner


def _may_be_null(error: ValidationError) -> bool:
    """Return whether the schema of a violated type is a form that _without_one_of has found."""
    path = list(error.evaluation_path)
    while path and path[-1] in {"type", "$ref", "else"}:
        path.pop()
    return path[-2:] == ["allOf", 0]
