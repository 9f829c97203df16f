"""schemathesis against the running server: what nobody thought of."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from session_service.keeper import ROOT
from tests.conformance import DOCUMENT, resolved, validator
from tests.service import Service

SECONDS = 40


def test_schemathesis_finds_nothing(service: Service, tmp_path: Path) -> None:
    """Examples, coverage, fuzzing and stateful tests, with all checks on, find no fault."""
    command: list[str | Path] = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", ROOT / "tests" / "schemathesis.toml", "run", ROOT / "openapi.yaml"]
    command += [
        "--url",
        service.url,
        "--checks",
        "all",
        "--max-time",
        str(SECONDS),
        "--max-failures",
        "1",
        "--seed",
        "20261123",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in run.stdout
    assert "Tested: 7" in run.stdout


def test_every_example_fits_its_schema() -> None:
    """What the contract shows is what it says."""
    shown = 0
    for place in _media(DOCUMENT):
        check = validator(place["schema"])
        for example in place.get("examples", {}).values():
            for error in check.iter_errors(resolved(example)["value"]):
                raise AssertionError(f"{example}: {error}")
            shown += 1
    for schema in DOCUMENT["components"]["schemas"].values():
        if "example" in schema:
            assert validator(schema).is_valid(schema["example"]), schema["title"]
    assert shown >= 20


def _media(node: object) -> Iterator[dict[str, Any]]:
    """Return every media type object of the document."""
    if isinstance(node, dict):
        yield from node.get("content", {}).values()
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _media(inner)
