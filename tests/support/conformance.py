"""Validates responses against openapi.yaml: status, headers, body."""

import json
import re
from typing import Any

import httpx
import jsonschema_rs
import yaml

from session_service.api.contract import FILE


def _exact(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with replies that allow no further field: what the service sends is declared."""
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return document


DOCUMENT: dict[str, Any] = _exact(yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader))
PATHS: dict[str, dict[str, Any]] = {
    path: {method.upper(): operation for method, operation in item.items() if method != "parameters"}
    for path, item in DOCUMENT["paths"].items()
}

# Headers of HTTP itself; every other header must be declared.
_TRANSPORT = {"connection", "content-length", "content-type", "date", "transfer-encoding"}

# Headers of the Fetch standard: of a response to a page of another origin, if such origins are configured;
# of the response to a preflight request; and headers of every response.
_SHARED = {"vary", "access-control-allow-origin", "access-control-expose-headers"}
_PREFLIGHT = {"access-control-allow-methods", "access-control-allow-headers", "access-control-max-age"}
_PLAIN = {"x-request-id", "x-content-type-options", "content-security-policy"}

# Operations and statuses that were checked.
SEEN: set[tuple[str, int]] = set()

_COMPILED: dict[int, tuple[dict[str, Any], jsonschema_rs.Validator]] = {}

# Files of the pages, which are not in the contract: media types by path, and the common headers.
_KINDS = {".css": "css", ".js": "javascript"}
FILES = {
    "/openapi.yaml": "application/yaml",
    "/openapi.json": "application/json",
    "/docs": "text/html; charset=utf-8",
    "/docs/page.css": "text/css; charset=utf-8",
    "/docs/page.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/monitor": "text/html; charset=utf-8",
    "/monitor/settings.json": "application/json",
    **{
        f"/monitor/{file.name}": f"text/{_KINDS[file.suffix]}; charset=utf-8"
        for file in sorted((FILE.parent / "session_service/api/monitor").iterdir())
        if file.suffix in _KINDS
    },
}
_READS = {"GET", "HEAD"}
_FILE_HEADERS = {
    "x-request-id": {"$ref": "#/components/headers/RequestId"},
    "etag": {"schema": {"pattern": '^"[0-9a-f]{64}"$'}},
    "cache-control": {"schema": {"const": "no-cache"}},
    "content-security-policy": {
        "schema": {
            "const": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        }
    },
    "referrer-policy": {"schema": {"const": "no-referrer"}},
    "x-content-type-options": {"schema": {"const": "nosniff"}},
}

# Responses to a request that belongs to no operation.
_NO_OPERATION = {
    "404": "RouteNotFoundError",
    "405": "MethodNotAllowedError",
    "408": "RequestTimeoutError",
    "413": "PayloadTooLargeError",
    "414": "UriTooLongError",
    "431": "HeadersTooLargeError",
}
_ALWAYS = ("408", "413", "414", "431")


def check(response: httpx.Response) -> None:
    """Fail unless the contract declares the response for its request."""
    response.read()
    request = response.request
    found = operation(request.method, request.url.path)
    SEEN.add((found["operationId"] if found else "", response.status_code))
    where = f"{request.method} {request.url.path}: {response.status_code} {response.text[:9999]}"
    if request.method == "OPTIONS" and response.status_code == 204:
        _check_preflight(response, where)
        return
    declared = _declared(request.method, request.url.path)
    assert str(response.status_code) in declared, f"undeclared status: {where}"
    declaration = resolved(declared[str(response.status_code)])
    _check_headers(response.headers, declaration["headers"], where)
    if request.method == "HEAD":
        assert response.content == b"", where
        return
    if "content" not in declaration:
        assert (response.content, response.headers.get("content-type")) == (b"", None), where
        return
    media_type = response.headers["content-type"]
    contents = declaration["content"]
    media_type = media_type if media_type in contents else media_type.removesuffix("; charset=utf-8")
    assert media_type in contents, f"undeclared media type: {where}"
    content = contents[media_type]
    if media_type == "application/x-ndjson":
        _check_lines(response.text, where)
    elif media_type == "application/json" and "schema" in content:
        body = json.loads(response.text, object_pairs_hook=_without_duplicates)
        for error in validator(content["schema"]).iter_errors(body):
            raise AssertionError(f"{where}: {error}")
        _check_agreement(response.headers, body, where)


def _check_lines(text: str, where: str) -> None:
    """Fail unless each line of an export is a session as in a list."""
    schema = DOCUMENT["components"]["schemas"]["SessionSummary"]
    for line in text.splitlines():
        session = json.loads(line, object_pairs_hook=_without_duplicates)
        for error in validator(schema).iter_errors(session):
            raise AssertionError(f"{where}: {error}")


def _without_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(members) == len(dict(members)), f"duplicate name: {members}"
    return dict(members)


def _check_agreement(headers: httpx.Headers, body: dict[str, Any], where: str) -> None:
    """Fail if headers and body contradict each other."""
    session = body.get("session", body)
    assert body.get("requestId", headers["x-request-id"]) == headers["x-request-id"], where
    if "etag" in headers and "items" not in body:
        assert headers["etag"] == f'"{session["version"]}"', where
        end = session["expires_at"] if session["status"] != "paused" else None
        assert headers["session-expires-at"] == (end or "none"), where
        assert body.get("currentVersion", session["version"]) == session["version"], where
        assert body.get("sessionId", session["id"]) == session["id"], where


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return the target of a local $ref."""
    while "$ref" in node:
        steps = node["$ref"].removeprefix("#/").split("/")
        node = DOCUMENT
        for step in steps:
            node = node[step]
    return node


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Return the compiled schema, with formats checked; each schema of the document is compiled once."""
    if id(schema) not in _COMPILED:
        whole = {**schema, "components": DOCUMENT["components"]}
        # Cached together with its schema: no other object can get the same id.
        _COMPILED[id(schema)] = schema, jsonschema_rs.validator_for(whole, validate_formats=True)
    return _COMPILED[id(schema)][1]


def operation(method: str, path: str) -> dict[str, Any] | None:
    """Return the operation of a request, if there is one."""
    template = _template(path)
    return PATHS[template].get("GET" if method == "HEAD" else method) if template else None


def _template(path: str) -> str | None:
    if path.endswith("\n"):
        return None
    for template in sorted(PATHS, key=lambda template: template.count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return template
    return None


def _declared(method: str, path: str) -> dict[str, Any]:
    """Return the responses declared for the request, also for one that belongs to no operation."""
    found = operation(method, path) or (_file(FILES[path]) if path in FILES and method in _READS else None)
    if found:
        declared: dict[str, Any] = found["responses"]
        return declared
    return _error_responses("405" if _template(path) or path in FILES else "404")


def _error_responses(*statuses: str) -> dict[str, Any]:
    return {
        status: DOCUMENT["components"]["responses"][_NO_OPERATION[status]] for status in (*statuses, *_ALWAYS)
    }


def _file(media_type: str) -> dict[str, Any]:
    """Return a declaration of a file about the contract."""
    common = {"headers": _FILE_HEADERS}
    return {
        "responses": {"200": {**common, "content": {media_type: {}}}, "304": common, **_error_responses()}
    }


def _check_preflight(response: httpx.Response, where: str) -> None:
    """Fail unless this is a preflight response for a path that exists."""
    path = response.request.url.path
    assert _template(path) or path in FILES, where
    assert response.headers.keys() - _TRANSPORT == _SHARED | _PREFLIGHT | _PLAIN, where
    assert response.content == b"", where


def _check_headers(headers: httpx.Headers, declared: dict[str, Any], where: str) -> None:
    received = headers.keys() - _TRANSPORT - _SHARED
    assert received == declared.keys(), where
    assert headers.get("vary", "Origin") == "Origin", where
    assert len(headers.multi_items()) == len(headers), f"duplicate header: {where}"
    for name, header in declared.items():
        schema = resolved(header)["schema"]
        value = int(headers[name]) if resolved(schema).get("type") == "integer" else headers[name]
        for error in validator(schema).iter_errors(value):
            raise AssertionError(f"{where}: {name}: {error}")
