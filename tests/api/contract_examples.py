"""The contract's examples, and the status that each example of a request is answered with."""

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

# Status and ETag of each request example: on a new session, and on one at version 2.
REQUEST_OUTCOMES = {
    "startSession.defaultLimit": ('201 "1"', '201 "1"'),
    "startSession.ownLimit": ('201 "1"', '201 "1"'),
    "startSession.exam": ('201 "1"', '200 "1"'),
    "startSession.practice": ('201 "1"', '201 "1"'),
    "startSession.resume": ('200 "1"', '200 "2"'),
    "updateProgress.text": ('200 "2"', '200 "3"'),
    "updateProgress.multiSelect": ('200 "2"', '409 "2"'),
    "updateProgress.structured": ('200 "2"', '200 "3"'),
    "updateProgress.clear": ('200 "2"', '200 "3"'),
    "saveAnswers.several": ('200 "2"', '200 "3"'),
    "saveAnswers.annotations": ('200 "2"', '200 "3"'),
    "saveAnswers.onVersion": ('200 "2"', '409 "2"'),
    "completeSession.plain": ('200 "2"', '200 "3"'),
    "completeSession.lastAnswers": ('200 "2"', '409 "2"'),
    "changeDeadlines.extra": ("200", "200"),
    "changeDeadlines.some": ("200", "200"),
    "changeDeadlines.limit": ("200", "200"),
    "pauseSessions.all": ("200", "200"),
    "resumeSessions.all": ("200", "200"),
    "changeDeadline.extra": ('200 "2"', '200 "3"'),
    "changeDeadline.end": ('200 "2"', '409 "2"'),
    "changeDeadline.limit": ('200 "2"', '200 "3"'),
    "pauseSession.plain": ('200 "2"', '200 "3"'),
    "pauseSession.reason": ('200 "2"', '200 "3"'),
    "resumeSession.plain": ('200 "1"', '200 "2"'),
    "resumeSession.reason": ('200 "1"', '200 "2"'),
    "reopenSession.handedIn": ('200 "1"', '200 "2"'),
}

# Status and ETag with each parameter example: on a session at version 3, and when it is repeated.
PARAMETER_OUTCOMES = {
    "startSession.Idempotency-Key": ('201 "1"', '200 "1"'),
    "startSession.Client-Id": ('201 "1"', '201 "1"'),
    "listSessions.user_id": ("200", "200"),
    "listSessions.quiz_id": ("200", "200"),
    "listSessions.status": ("200", "200"),
    "listSessions.limit": ("200", "200"),
    "listSessions.cursor": ("200", "200"),
    "listSessions.include": ("200", "200"),
    "exportAnswers.user_id": ("200", "200"),
    "exportAnswers.quiz_id": ("200", "200"),
    "exportAnswers.status": ("200", "200"),
    "exportAnswers.format": ("200", "200"),
    "listSessions.If-None-Match": ("200", "200"),
    "getSession.id": ('200 "3"', '200 "3"'),
    "getSession.If-None-Match": ('304 "3"', '304 "3"'),
    "getSession.Cache-Control": ('200 "3"', '200 "3"'),
    "updateProgress.id": ('200 "4"', '200 "5"'),
    "updateProgress.Idempotency-Key": ('200 "4"', '200 "4"'),
    "updateProgress.If-Match": ('200 "4"', '409 "4"'),
    "updateProgress.Prefer": ('204 "4"', '204 "5"'),
    "updateProgress.Client-Id": ('200 "4"', '200 "5"'),
    "saveAnswers.id": ('200 "4"', '200 "5"'),
    "saveAnswers.Idempotency-Key": ('200 "4"', '200 "4"'),
    "saveAnswers.If-Match": ('200 "4"', '409 "4"'),
    "saveAnswers.Prefer": ('204 "4"', '204 "5"'),
    "saveAnswers.Client-Id": ('200 "4"', '200 "5"'),
    "completeSession.id": ('200 "4"', '200 "4"'),
    "completeSession.Idempotency-Key": ('200 "4"', '200 "4"'),
    "completeSession.If-Match": ('200 "4"', '200 "4"'),
    "completeSession.Client-Id": ('200 "4"', '200 "4"'),
    "listSessionEvents.id": ("200", "200"),
    "listSessionEvents.after": ("200", "200"),
    "listSessionEvents.limit": ("200", "200"),
    "listEvents.after": ("410", "410"),
    "listEvents.types": ("200", "200"),
    "listEvents.quiz_id": ("200", "200"),
    "listEvents.limit": ("200", "200"),
    "listEvents.wait": ("200", "200"),
    "changeDeadlines.Idempotency-Key": ("200", "200"),
    "changeDeadlines.Client-Id": ("200", "200"),
    "pauseSessions.Idempotency-Key": ("200", "200"),
    "pauseSessions.Client-Id": ("200", "200"),
    "resumeSessions.Idempotency-Key": ("200", "200"),
    "resumeSessions.Client-Id": ("200", "200"),
    "changeDeadline.id": ('200 "4"', '200 "5"'),
    "changeDeadline.Idempotency-Key": ('200 "4"', '200 "4"'),
    "changeDeadline.If-Match": ('200 "4"', '409 "4"'),
    "changeDeadline.Client-Id": ('200 "4"', '200 "5"'),
    "pauseSession.id": ('200 "4"', '200 "4"'),
    "pauseSession.Idempotency-Key": ('200 "4"', '200 "4"'),
    "pauseSession.If-Match": ('200 "4"', '409 "4"'),
    "pauseSession.Client-Id": ('200 "4"', '200 "4"'),
    "resumeSession.id": ('200 "3"', '200 "3"'),
    "resumeSession.Idempotency-Key": ('200 "3"', '200 "3"'),
    "resumeSession.If-Match": ('200 "3"', '200 "3"'),
    "resumeSession.Client-Id": ('200 "3"', '200 "3"'),
    "eraseSessions.user_id": ("200", "200"),
    "eraseSession.id": ("204", "404"),
    "reopenSession.id": ('200 "3"', '200 "3"'),
    "reopenSession.Idempotency-Key": ('200 "3"', '200 "3"'),
    "reopenSession.If-Match": ('200 "3"', '200 "3"'),
    "reopenSession.Client-Id": ('200 "3"', '200 "3"'),
}


def nodes(node: object) -> Iterator[dict[str, Any]]:
    """Return every object of the document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(inner)
