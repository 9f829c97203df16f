"""Fuzzes a running service with schemathesis and reports the coverage: bin/fuzz [minutes] [seed]."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
from attrs import frozen

from dev import reaper
from dev.reaper import ROOT
from session_service.api import contract
from tests.conftest import migrate
from tests.support import conformance, issuer
from tests.support.conformance import PATHS
from tests.support.service import folder, running

CONFIG = ROOT / "tests" / "support" / "schemathesis.toml"
ROUND = 60  # seconds, the maximum for the links, and again for the other phases
REST = "examples,coverage,fuzzing"

# Data of earlier responses would make each run different.
REPEATABLE = """
[phases.coverage.extra-data-sources]
responses = false
[phases.fuzzing.extra-data-sources]
responses = false
[phases.fuzzing.error-feedback]
enabled = false
"""

# The same token in all runs, so that they are repeatable.
TOKEN = issuer.bearer("fuzz", scope=f"{issuer.SERVICE_SCOPE} sessions:erase", exp=2**31)["authorization"]

Counts = Counter[tuple[str, int]]


@frozen
class Run:
    """Output and responses of a run of schemathesis."""

    failed: bool
    output: str
    responses: list[httpx.Response]


def main() -> None:
    """Fuzz for the given minutes with a fresh seed; exit with 1 on a fault or missing coverage."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    with folder() as base, reaper.servers(base) as urls:
        migrate(urls)
        with running(urls, **issuer.token_settings(base / "keys.json")) as service:
            sys.exit(rounds(service.url, round(minutes * 60), seed))


def rounds(url: str, seconds: int, seed: int) -> int:
    """Return 1 if a fault was found, or if a response that links lead to was never seen, else 0."""
    begun = monotonic()
    linked, all_seen = Counts(), Counts()
    while monotonic() < begun + seconds:
        for phases in ("stateful", REST):
            run = run_schemathesis(
                url, phases, "--max-time", str(min(ROUND, -(-seconds // 2))), "--seed", str(seed)
            )
            all_seen += count_responses(run.responses)
            linked += count_responses(run.responses) if phases == "stateful" else Counts()
            print(f"{monotonic() - begun:6.0f} s, seed {seed}: {all_seen.total():7,} responses", flush=True)
            if run.failed:
                print(run.output)
                return 1
        seed += 1
    print(f"By links:\n{table(linked)}\nIn all:\n{table(all_seen)}")
    unseen = sorted(reachable() - linked.keys())
    for operation, status in unseen:
        print(f"links lead to {operation} {status}, but it was never seen")
    return 1 if unseen else 0


def run_schemathesis(url: str, phases: str, *options: str, repeatable: bool = False) -> Run:
    """Run phases of schemathesis with all checks, and validate the responses like the tests do.

    The service must require tokens; the requests have the token of a back end that may erase.
    """
    with folder() as place:
        (place / "config.toml").write_text(CONFIG.read_text() + (REPEATABLE if repeatable else ""))
        (place / "openapi.json").write_text(json.dumps(_document()))
        command: list[str | Path] = [sys.executable, "-m", "schemathesis.cli"]
        command += ["--config-file", place / "config.toml", "run", place / "openapi.json", "--url", url]
        command += ["--header", f"Authorization: {TOKEN}"]
        command += ["--phases", phases, "--checks", "all", "--max-failures", "1", "--no-color"]
        command += ["--output-sanitize", "false", "--report-har-path", place / "har.json", *options]
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.support.fuzzing_hooks",
            "PYTHONPATH": str(ROOT),
        }
        run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        har = place / "har.json"
        entries = json.loads(har.read_text())["log"]["entries"] if har.exists() else []
    responses = [_response(entry) for entry in entries]
    for response in responses:
        conformance.check(response)
    return Run(run.returncode != 0, run.stdout + run.stderr, responses)


def count_responses(responses: Iterable[httpx.Response]) -> Counts:
    """Return the number of responses of each operation with each status."""
    found = Counts()
    for response in responses:
        operation = conformance.operation(response.request.method, response.request.url.path)
        found[operation["operationId"] if operation else "none", response.status_code] += 1
    return found


def reachable() -> set[tuple[str, int]]:
    """Return the responses that links from a start lead to: each success, conflicts and ended sessions.

    The ETag of a list is no part of a start's response, so that no link leads to its 304.
    """
    linked = {link["operationId"] for link in _document()["components"]["links"].values()}
    expected = {
        (name, status)
        for name, operation in _operations().items()
        for status in operation["responses"]
        if name in linked and status < "4"
    } - {("listSessions", "304")}
    expected |= {(name, status) for name in ("updateProgress", "saveAnswers") for status in ("409", "410")}
    return {(name, int(status)) for name, status in expected}


def table(found: Counts) -> str:
    """Return a table of the counts by operation and status; undeclared statuses are blank."""
    declared = {name: operation["responses"] for name, operation in _operations().items()}
    statuses = sorted({status for responses in declared.values() for status in responses})
    lines = ["".join([" " * 18, *(f"{status:>7}" for status in statuses)])]
    for name, responses in declared.items():
        counts = [f"{found[name, int(status)]:7,}" if status in responses else " " * 7 for status in statuses]
        lines.append("".join([f"{name:18}", *counts]))
    return "\n".join(lines)


def _document() -> dict[str, Any]:
    """Return the contract of a service that requires tokens, with bodies in links to orders for a quiz."""
    document = contract.read(contract.FILE)
    document["security"].remove({})
    # OpenAPI Generator rejects a link whose body is an object.
    for name in ("ChangeDeadlines", "PauseSessions", "ResumeSessions"):
        document["components"]["links"][name]["requestBody"] = {"quiz_id": "$response.body#/quiz_id"}
    return document


def _operations() -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for path in PATHS.values() for operation in path.values()}


def _response(entry: dict[str, Any]) -> httpx.Response:
    """Return an entry of a HAR file as a response with its request."""
    request, recorded = entry["request"], entry["response"]
    headers = [(header["name"].encode(), header["value"].encode()) for header in request["headers"]]
    content = request.get("postData", {}).get("text", "").encode()
    return httpx.Response(
        recorded["status"],
        headers=[(header["name"], header["value"]) for header in recorded["headers"]],
        content=recorded["content"].get("text", "").encode(),
        request=httpx.Request(request["method"], request["url"], headers=headers, content=content),
    )


if __name__ == "__main__":
    main()
