"""schemathesis against a running service, and what of the contract it reached: bin/fuzz [minutes] [seed]."""

import json
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
from session_service.api.contract import FILE
from tests.conftest import migrate
from tests.support import conformance, issuer
from tests.support.conformance import PATHS
from tests.support.service import folder, running

CONFIG = ROOT / "tests" / "support" / "schemathesis.toml"
ROUND = 60  # seconds at the most for the links, and as many for the rest
REST = "examples,coverage,fuzzing"

# What was answered before would make each run another one.
REPEATABLE = """
[phases.coverage.extra-data-sources]
responses = false
[phases.fuzzing.extra-data-sources]
responses = false
[phases.fuzzing.error-feedback]
enabled = false
"""

# One for all runs, so that they can be the same.
TOKEN = issuer.bearer("fuzz", scope=issuer.SERVICE_SCOPE, exp=2**31)["authorization"]

Seen = Counter[tuple[str, int]]


@frozen
class Run:
    """What schemathesis said, and each reply that it had."""

    failed: bool
    told: str
    replies: list[httpx.Response]


def main() -> None:
    """Ask for so many minutes with a fresh seed; exit with 1 if anything was found or not reached."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    with folder() as base, reaper.servers(base) as urls:
        migrate(urls)
        with running(urls, **issuer.guarded(base / "keys.json")) as service:
            sys.exit(rounds(service.url, round(minutes * 60), seed))


def rounds(url: str, seconds: int, seed: int) -> int:
    """Return 1 if a fault was found, or a reply never seen that links lead to, else 0."""
    begun = monotonic()
    linked, all_seen = Seen(), Seen()
    while monotonic() < begun + seconds:
        for phases in ("stateful", REST):
            run = ask(url, phases, "--max-time", str(min(ROUND, -(-seconds // 2))), "--seed", str(seed))
            all_seen += seen(run.replies)
            linked += seen(run.replies) if phases == "stateful" else Seen()
            print(f"{monotonic() - begun:6.0f} s, seed {seed}: {all_seen.total():7,} replies", flush=True)
            if run.failed:
                print(run.told)
                return 1
        seed += 1
    print(f"By links:\n{table(linked)}\nIn all:\n{table(all_seen)}")
    unseen = sorted(reachable() - linked.keys())
    for operation, status in unseen:
        print(f"links lead to {operation} {status}, but it was never seen")
    return 1 if unseen else 0


def ask(url: str, phases: str, *options: str, repeatable: bool = False) -> Run:
    """Run phases of schemathesis with all checks; hold its replies against the contract as the tests do.

    The service has to ask for tokens, and is asked with that of a back-end.
    """
    with folder() as place:
        (place / "config.toml").write_text(CONFIG.read_text() + (REPEATABLE if repeatable else ""))
        (place / "openapi.yaml").write_text(_guarded(FILE.read_text()))
        command: list[str | Path] = [sys.executable, "-m", "schemathesis.cli"]
        command += ["--config-file", place / "config.toml", "run", place / "openapi.yaml", "--url", url]
        command += ["--header", f"Authorization: {TOKEN}"]
        command += ["--phases", phases, "--checks", "all", "--max-failures", "1", "--no-color"]
        command += ["--output-sanitize", "false", "--report-har-path", place / "har.json", *options]
        run = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        har = place / "har.json"
        entries = json.loads(har.read_text())["log"]["entries"] if har.exists() else []
    replies = [_reply(entry) for entry in entries]
    for reply in replies:
        conformance.check(reply)
    return Run(run.returncode != 0, run.stdout + run.stderr, replies)


def seen(replies: Iterable[httpx.Response]) -> Seen:
    """Return how often each operation was answered with each status."""
    found = Seen()
    for reply in replies:
        operation = conformance.operation(reply.request.method, reply.request.url.path)
        found[operation["operationId"] if operation else "none", reply.status_code] += 1
    return found


def reachable() -> set[tuple[str, int]]:
    """Return what links from a start have to lead to: each success, and refusals of what was right before."""
    wanted = {
        (name, status)
        for name, operation in _operations().items()
        for status in operation["responses"]
        if operation["tags"] == ["Sessions"] and status < "4"
    }
    wanted |= {(name, status) for name in ("updateProgress", "saveAnswers") for status in ("409", "410")}
    return {(name, int(status)) for name, status in wanted}


def table(found: Seen) -> str:
    """Return how often each operation was answered with each of its statuses; undeclared ones are blank."""
    declared = {name: operation["responses"] for name, operation in _operations().items()}
    statuses = sorted({status for responses in declared.values() for status in responses})
    lines = ["".join([" " * 18, *(f"{status:>7}" for status in statuses)])]
    for name, responses in declared.items():
        counts = [f"{found[name, int(status)]:7,}" if status in responses else " " * 7 for status in statuses]
        lines.append("".join([f"{name:18}", *counts]))
    return "\n".join(lines)


def _guarded(contract: str) -> str:
    """Return the contract of a service that asks for tokens: those that do not are let off by it."""
    optional = "security:\n  - {}\n"
    assert optional in contract
    return contract.replace(optional, "security:\n")


def _operations() -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for path in PATHS.values() for operation in path.values()}


def _reply(entry: dict[str, Any]) -> httpx.Response:
    """Return an exchange of a HAR file as the reply that it was, to the request that it was."""
    asked, told = entry["request"], entry["response"]
    headers = [(header["name"].encode(), header["value"].encode()) for header in asked["headers"]]
    content = asked.get("postData", {}).get("text", "").encode()
    return httpx.Response(
        told["status"],
        headers=[(header["name"], header["value"]) for header in told["headers"]],
        content=told["content"].get("text", "").encode(),
        request=httpx.Request(asked["method"], asked["url"], headers=headers, content=content),
    )


if __name__ == "__main__":
    main()
