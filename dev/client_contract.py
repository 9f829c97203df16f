"""Prints a contract as JSON for one of the two client generators: client_contract python|typescript <file>.

Some schemas of the contract have no `type`, for generators that make a wrapper class of several types. These
two make a union of them: `int | str`, `number | string`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from session_service.api import contract

JSON = {"$ref": "#/components/schemas/JsonValue"}
PLAIN = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
NESTED = [{"type": "array", "items": JSON}, {"type": "object", "additionalProperties": JSON}]

ANSWER = {"oneOf": [*PLAIN, *NESTED]}
ANY: dict[str, Any] = {}
ID = {"type": ["integer", "string"]}

# The rules of components that have no type. Neither generator has recursive types: in Python the type is Any,
# and bin/client writes that of JsonValue in TypeScript.
RULES: dict[str, dict[str, dict[str, Any]]] = {
    "python": {
        "ExternalId": ID,
        "JsonValue": ANY,
        "Answer": ANY,
        "Annotation": ANY,
    },
    "typescript": {
        "ExternalId": ID,
        "JsonValue": ANY,
        "Answer": ANSWER,
        "Annotation": ANSWER,
    },
}


def main() -> None:
    """Print the document."""
    language, file = sys.argv[1:]
    rules = RULES[language]
    document = contract.read(Path(file))
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        if name in rules and not schema.keys() & {"type", "oneOf"}:
            schemas[name] = {key: schema[key] for key in ("title", "description", "example")} | rules[name]
        if "properties" in schema:
            closed = not schema.pop("additionalProperties", True)
            # The types have the declared fields only; one that a later release adds is ignored all the same.
            if closed or language == "python":
                schema["additionalProperties"] = False
    if "ExternalId" in schemas:
        _widen_queries(document)
    json.dump(document, sys.stdout)


def _widen_queries(document: dict[str, Any]) -> None:
    """Let queries have an integer as the id of a quiz: they are text, but the clients take one, too."""
    for path in document["paths"].values():
        for parameter in path.get("get", {}).get("parameters", []):
            if parameter.get("name") == "quiz_id":
                parameter["schema"] = {"$ref": "#/components/schemas/ExternalId"}


if __name__ == "__main__":
    main()
