"""Violations of the contract's requests: one or more wrong values for each keyword of a schema."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from attrs import evolve, frozen

from tests.support.conformance import DOCUMENT

MARK = "nonesuch"  # in every wrong text; no message may repeat it
Schema = dict[str, Any]

# Values of each type of JSON Schema; an integer is also a number.
TYPES: dict[str, object] = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 7.5,
    "string": MARK,
    "array": [MARK],
    "object": {MARK: MARK},
}
_BAD_TEXTS = (f"{MARK}\x00", f"{MARK} \x01", f"{MARK} x", f'"{MARK}')
# Keywords that allow or describe; the others forbid something.
_HARMLESS = {"title", "description", "example", "format", "$ref", "properties", "items", "if", "then", "else"}
_HARMLESS |= {"x-needs-header"}
# Schemas with these names contain themselves.
_MAX_DEPTH = 2


@frozen
class Violation:
    """A wrong value: the violated keyword, what its message must name, the steps to the faulty place."""

    keyword: str
    value: Any
    names: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    def within(self, whole: Any, step: str) -> "Violation":
        """Return the violation in a whole that has the value at the step."""
        return evolve(self, value=whole, steps=(step, *self.steps))


def merged(schema: Schema) -> Schema:
    """Return the schema with the keywords of the component that it refers to; its own take precedence."""
    while "$ref" in schema:
        own = {name: value for name, value in schema.items() if name != "$ref"}
        schema = {**DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], **own}
    return schema


def keywords(schema: Schema, depth: int = 0) -> set[str]:
    """Return the keywords in a schema, and in those that it contains, that forbid something."""
    schema = merged(schema)
    found = set(schema) - _HARMLESS - {"oneOf"}
    if depth <= _MAX_DEPTH:
        for inner in _subschemas(schema):
            found |= keywords(inner, depth + 1)
    return found


def violations(schema: Schema, depth: int = 0) -> Iterator[Violation]:
    """Yield wrong values for each keyword of the schema and of those that it contains."""
    schema = merged(schema)
    if "oneOf" in schema:
        (schema,) = [form for form in schema["oneOf"] if form != {"type": "null"}]
        yield from (one for one in violations(schema, depth) if one.value is not None)
        return
    yield from _of_types(schema)
    yield from _of_scalars(schema)
    yield from _of_objects(schema, depth)
    yield from _of_branches(schema, depth)


def of_body(schema: Schema, *examples: dict[str, Any]) -> Iterator[Violation]:
    """Yield bodies that violate each keyword of the body's schema, made from valid ones.

    A field is changed in an example that has it, if there is one: others may exclude it.
    """
    schema = merged(schema)
    valid = examples[0]
    for name, inner in schema["properties"].items():
        fitting = next((example for example in examples if name in example), valid)
        for one in violations(inner):
            yield one.within({**fitting, name: one.value}, name)
    for name in schema.get("required", ()):
        rest = {other: value for other, value in valid.items() if other != name}
        yield Violation("required", rest, (name,))
    assert schema["additionalProperties"] is False
    yield Violation("additionalProperties", {**valid, "surplus": MARK}, ("surplus",))
    needed = {name: valid[name] for name in schema.get("required", ()) if name in valid}
    for one in violations(schema):
        yield evolve(one, value=needed) if one.value == {} else one


def of_parameter(schema: Schema) -> Iterator[Violation]:
    """Yield texts that violate each keyword of a parameter's schema."""
    kind = merged(schema).get("type")
    if kind == "array":
        # One value is a list, too.
        yield from (one.within(one.value, "0") for one in of_parameter(schema["items"]))
        return
    for one in violations(schema):
        if kind == "integer" or isinstance(one.value, str):
            yield evolve(one, value=str(one.value))


def _subschemas(schema: Schema) -> Iterator[Schema]:
    yield from schema.get("properties", {}).values()
    yield from schema.get("oneOf", ())
    for name in ("additionalProperties", "propertyNames", "items", "then", "else"):
        if isinstance(schema.get(name), dict):
            yield schema[name]


def _of_types(schema: Schema) -> Iterator[Violation]:
    allowed = schema.get("type", list(TYPES))
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if "number" in allowed:
        allowed = [*allowed, "integer"]
    for name, value in TYPES.items():
        if name not in allowed:
            yield Violation("type", value)


def _of_scalars(schema: Schema) -> Iterator[Violation]:
    if "minLength" in schema:
        yield Violation("minLength", "", (str(schema["minLength"]), "character"))
    if "maxLength" in schema:
        yield Violation(
            "maxLength", (MARK * schema["maxLength"])[: schema["maxLength"] + 1], (str(schema["maxLength"]),)
        )
    for keyword, step in (("minimum", -1), ("maximum", 1)):
        if keyword in schema:
            yield Violation(keyword, schema[keyword] + step, (str(schema[keyword]),))
    if "pattern" in schema:
        bad = [text for text in _BAD_TEXTS if not re.search(schema["pattern"], text)]
        yield from (Violation("pattern", text) for text in bad)
    if "enum" in schema:
        yield Violation("enum", MARK, tuple(schema["enum"]))
    if "const" in schema.get("not", ()):
        yield Violation("not", schema["not"]["const"], (schema["not"]["const"],))


def _of_objects(schema: Schema, depth: int) -> Iterator[Violation]:
    if "minItems" in schema:
        yield Violation("minItems", [], (str(schema["minItems"]), "item"))
    if "maxItems" in schema:
        yield Violation("maxItems", (schema["maxItems"] + 1) * [MARK], (str(schema["maxItems"]), "items"))
    if "minProperties" in schema:
        yield Violation("minProperties", {}, (str(schema["minProperties"]), "entry"))
    if "maxProperties" in schema:
        many = {str(number): MARK for number in range(schema["maxProperties"] + 1)}
        yield Violation("maxProperties", many, (str(schema["maxProperties"]), "entries"))
    yield from _of_sizes(schema)
    if depth < _MAX_DEPTH:
        yield from _of_members(schema, depth)


def _of_sizes(schema: Schema) -> Iterator[Violation]:
    if "x-max-bytes" in schema:
        yield Violation("x-max-bytes", {"5": MARK * 400}, (str(schema["x-max-bytes"]), "bytes"))
    if "x-max-depth" in schema:
        nested: Any = MARK
        for _ in range(schema["x-max-depth"]):
            nested = [nested]
        yield Violation("x-max-depth", {"5": nested}, (str(schema["x-max-depth"]), "levels"))


def _of_members(schema: Schema, depth: int) -> Iterator[Violation]:
    inner = schema.get("additionalProperties")
    if isinstance(inner, dict):
        for one in violations(inner, depth + 1):
            yield one.within({"4": 7, "5": one.value}, "5")
            yield one.within({"4": 7, "a b": one.value}, "#2")
    if "propertyNames" in schema:
        for one in violations(schema["propertyNames"], depth + 1):
            if isinstance(one.value, str):
                wrong_key = {"4": 7, one.value: 7}
                yield Violation("propertyNames", wrong_key, ("wrong key (#2)", *one.names))
    if "items" in schema:
        first = MARK if merged(schema["items"]).get("type") == "string" else 7
        yield from (one.within([first, one.value], "1") for one in violations(schema["items"], depth + 1))


def _of_branches(schema: Schema, depth: int) -> Iterator[Violation]:
    """Yield the violations of the branch that applies to the wrong value."""
    if "if" not in schema:
        return
    condition = jsonschema_rs.validator_for(schema["if"])
    for branch, applies in (("then", True), ("else", False)):
        inner = merged(schema.get(branch, {}))
        if inner.get("not") == {}:
            neither: tuple[object, ...] = (None, {})
            wrong = next(value for value in neither if condition.is_valid(value) == applies)
            yield Violation("not", wrong)
        for one in violations(inner, depth):
            # The rule of the schema itself is the stricter one.
            if condition.is_valid(one.value) == applies and one.keyword not in schema:
                yield one
