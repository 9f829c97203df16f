"""Whether a reply is one that openapi.yaml declares: status, headers, body."""

import json
import re
from typing import Any

import httpx
import jsonschema_rs
import yaml

from session_service.api.contract import FILE

DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
PATHS: dict[str, dict[str, Any]] = {
    path: {method.upper(): operation for method, operation in item.items() if method != "parameters"}
    for path, item in DOCUMENT["paths"].items()
}

# What HTTP itself puts on a reply; every other header has to be declared.
_TRANSPORT = {"connection", "content-length", "content-type", "date"}

# What the Fetch standard puts on a reply to a page of another origin, where the service has a list of these;
# on one to its browser alone; and what is on every reply.
_SHARED = {"vary", "access-control-allow-origin", "access-control-expose-headers"}
_PREFLIGHT = {"access-control-allow-methods", "access-control-allow-headers", "access-control-max-age"}
_PLAIN = {"x-request-id", "x-content-type-options", "content-security-policy"}

# The operations and statuses that were checked.
SEEN: set[tuple[str, int]] = set()

_COMPILED: dict[int, tuple[dict[str, Any], jsonschema_rs.Validator]] = {}

# What is about the contract, and so not in it: by path the media type, and the headers that all have.
FILES = {
    "/openapi.yaml": "application/yaml",
    "/openapi.json": "application/json",
    "/docs": "text/html; charset=utf-8",
    "/docs/page.css": "text/css; charset=utf-8",
    "/docs/page.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
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

# What a request that belongs to no operation is told: that it does not, or that it is too much.
_STRAYS = {
    "404": "RouteNotFoundError",
    "405": "MethodNotAllowedError",
    "408": "RequestTimeoutError",
    "413": "PayloadTooLargeError",
    "414": "UriTooLongError",
    "431": "HeadersTooLargeError",
}
_ALWAYS = ("408", "413", "414", "431")


def check(reply: httpx.Response) -> None:
    """Fail unless the contract declares the reply for the request that it answers."""
    reply.read()
    request = reply.request
    found = operation(request.method, request.url.path)
    SEEN.add((found["operationId"] if found else "", reply.status_code))
    where = f"{request.method} {request.url.path}: {reply.status_code} {reply.text[:9999]}"
    if request.method == "OPTIONS" and reply.status_code == 204:
        _check_preflight(reply, where)
        return
    declared = _declared(request.method, request.url.path)
    assert str(reply.status_code) in declared, f"undeclared status: {where}"
    response = resolved(declared[str(reply.status_code)])
    _check_headers(reply.headers, response["headers"], where)
    if request.method == "HEAD":
        assert reply.content == b"", where
        return
    if "content" not in response:
        assert (reply.content, reply.headers.get("content-type")) == (b"", None), where
        return
    ((media_type, content),) = response["content"].items()
    assert reply.headers["content-type"] == media_type, where
    if "schema" in content:
        body = json.loads(reply.text, object_pairs_hook=_once)
        for error in validator(content["schema"]).iter_errors(body):
            raise AssertionError(f"{where}: {error}")
        _check_agreement(reply.headers, body, where)


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(members) == len(dict(members)), f"a name twice: {members}"
    return dict(members)


def _check_agreement(headers: httpx.Headers, body: dict[str, Any], where: str) -> None:
    """Fail if head and body tell different things."""
    session = body.get("session", body)
    assert body.get("requestId", headers["x-request-id"]) == headers["x-request-id"], where
    if "etag" in headers:
        assert headers["etag"] == f'"{session["version"]}"', where
        assert body.get("currentVersion", session["version"]) == session["version"], where
        assert body.get("sessionId", session["id"]) == session["id"], where


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return the node that a local $ref stands for."""
    while "$ref" in node:
        steps = node["$ref"].removeprefix("#/").split("/")
        node = DOCUMENT
        for step in steps:
            node = node[step]
    return node


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Return the compiled schema, with formats checked; each of the document is compiled once."""
    if id(schema) not in _COMPILED:
        whole = {**schema, "components": DOCUMENT["components"]}
        # Held with its schema: another one cannot have the same id then.
        _COMPILED[id(schema)] = schema, jsonschema_rs.validator_for(whole, validate_formats=True)
    return _COMPILED[id(schema)][1]


def operation(method: str, path: str) -> dict[str, Any] | None:
    """Return the operation that a request is for, if it is for one."""
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
    """Return the responses declared for the request, those of no operation included where it has none."""
    found = operation(method, path) or (_file(FILES[path]) if path in FILES and method in _READS else None)
    if found:
        declared: dict[str, Any] = found["responses"]
        return declared
    return _refusals("405" if _template(path) or path in FILES else "404")


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: DOCUMENT["components"]["responses"][_STRAYS[status]] for status in (*statuses, *_ALWAYS)}


def _file(media_type: str) -> dict[str, Any]:
    """Return what the contract would say of a file about it."""
    kept = {"headers": _FILE_HEADERS}
    return {"responses": {"200": {**kept, "content": {media_type: {}}}, "304": kept, **_refusals()}}


def _check_preflight(reply: httpx.Response, where: str) -> None:
    """Fail unless a browser was told what its page may send, to a path that there is."""
    path = reply.request.url.path
    assert _template(path) or path in FILES, where
    assert reply.headers.keys() - _TRANSPORT == _SHARED | _PREFLIGHT | _PLAIN, where
    assert reply.content == b"", where


def _check_headers(headers: httpx.Headers, declared: dict[str, Any], where: str) -> None:
    told = headers.keys() - _TRANSPORT - _SHARED
    assert told == declared.keys(), where
    assert headers.get("vary", "Origin") == "Origin", where
    assert len(headers.multi_items()) == len(headers), f"a header twice: {where}"
    for name, header in declared.items():
        schema = resolved(header)["schema"]
        value = int(headers[name]) if resolved(schema).get("type") == "integer" else headers[name]
        for error in validator(schema).iter_errors(value):
            raise AssertionError(f"{where}: {name}: {error}")
