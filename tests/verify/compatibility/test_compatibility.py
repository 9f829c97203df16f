"""Tests of the contract's compatibility: lint, breaking changes, version, changelog."""

import os
import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.reaper import ROOT
from tests.support.conformance import DOCUMENT

Document = dict[str, Any]

RELEASED = ROOT / "contract" / "released.yaml"
RULES = ROOT / "contract" / "redocly.yaml"
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def _saves(document: Document) -> Document:
    operation: Document = document["paths"]["/api/sessions/{id}/progress"]["put"]
    return operation


def removed_field(document: Document) -> None:
    """A response lacks a field."""
    session = document["components"]["schemas"]["Session"]
    session["required"].remove("last_saved_at")
    del session["properties"]["last_saved_at"]


def new_required_field(document: Document) -> None:
    """A request needs one more field."""
    body = document["components"]["schemas"]["StartSession"]
    body["properties"]["tenant"] = {"type": "string"}
    body["required"].append("tenant")


def new_required_parameter(document: Document) -> None:
    """An optional header becomes required."""
    document["components"]["parameters"]["IdempotencyKeyHeader"]["required"] = True


def tightened_bound(document: Document) -> None:
    """A valid value becomes invalid."""
    document["components"]["schemas"]["TimeLimitSeconds"]["maximum"] = 86400


def lost_enum_value(document: Document) -> None:
    """A valid choice becomes invalid."""
    document["components"]["schemas"]["IfActive"]["enum"].remove("new")


def other_type(document: Document) -> None:
    """A number becomes a text."""
    document["components"]["schemas"]["SessionVersion"].update(type="string", format="uuid")


def removed_status(document: Document) -> None:
    """A status is no longer declared."""
    del _saves(document)["responses"]["204"]


def renamed_operation(document: Document) -> None:
    """An operationId, and so a client's method, is renamed."""
    _saves(document)["operationId"] = "putProgress"
    links = document["components"]["links"]
    for link in links.values():
        link["operationId"] = link["operationId"].replace("updateProgress", "putProgress")


def removed_operation(document: Document) -> None:
    """A path lacks a method."""
    del document["paths"]["/health"]


BREAKS = [
    removed_field,
    new_required_field,
    new_required_parameter,
    tightened_bound,
    lost_enum_value,
    other_type,
    removed_status,
    renamed_operation,
    removed_operation,
]


@pytest.fixture(scope="module")
def redocly() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run redocly's command line."""
    subprocess.run([ROOT / "bin" / "lib" / "environment", "contract"], check=True, capture_output=True)
    env = os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [ROOT / "contract/node_modules/.bin/redocly", *arguments, "--config", RULES]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    return run


Redocly = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.needs("node")
def test_lint(redocly: Redocly, tmp_path: Path) -> None:
    """The contract passes redocly lint; one without a description does not."""
    clean = redocly("lint", "openapi.yaml")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    document = deepcopy(DOCUMENT)
    del _saves(document)["description"]
    failed = redocly("lint", _written(document, tmp_path))
    assert failed.returncode == 1
    assert "operation-description" in failed.stdout + failed.stderr


@pytest.mark.needs("node")
def test_the_contract_breaks_no_released_client(redocly: Redocly) -> None:
    """The contract has no breaking change since its last release, and a new version for any other."""
    found = redocly("diff", RELEASED, "openapi.yaml", "--fail-on", "major", "--check-version")
    assert found.returncode == 0, found.stdout + found.stderr


def test_names_in_generated_clients_are_kept() -> None:
    """Released tags and components, which name modules and classes of clients, still exist."""
    released, current = yaml.safe_load(RELEASED.read_text()), DOCUMENT
    assert {tag["name"] for tag in released["tags"]} <= {tag["name"] for tag in current["tags"]}
    assert released["components"]["schemas"].keys() <= current["components"]["schemas"].keys()


@pytest.mark.needs("node")
@pytest.mark.parametrize("change", BREAKS, ids=lambda change: change.__name__)
def test_a_breaking_change_is_found(
    redocly: Redocly, tmp_path: Path, change: Callable[[Document], None]
) -> None:
    """Each kind of breaking change fails redocly diff."""
    document = deepcopy(DOCUMENT)
    change(document)
    found = redocly("diff", "openapi.yaml", _written(document, tmp_path), "--fail-on", "major")
    assert found.returncode == 1, found.stdout
    assert re.search("[1-9] major", found.stdout)


@pytest.mark.needs("node")
def test_an_addition_without_a_new_version_is_found(redocly: Redocly, tmp_path: Path) -> None:
    """An addition without a new version fails redocly diff."""
    document = deepcopy(DOCUMENT)
    document["components"]["schemas"]["StartSession"]["properties"]["note"] = {"type": "string"}
    found = redocly("diff", "openapi.yaml", _written(document, tmp_path), "--check-version")
    assert found.returncode == 1, found.stdout


def test_the_changelog_has_every_change() -> None:
    """The changelog's newest version is the released one; changes since are under Unreleased."""
    unreleased, *released = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]
    versions = [re.match(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d\n", part) for part in released]
    assert versions[0] is not None
    assert versions[0][1] == yaml.safe_load(RELEASED.read_text())["info"]["version"]
    assert all(versions)
    assert unreleased.startswith("[Unreleased]\n")
    assert f'\nversion = "{DOCUMENT["info"]["version"]}"\n' in (ROOT / "pyproject.toml").read_text()
    differs = RELEASED.read_text() != (ROOT / "openapi.yaml").read_text()
    assert differs == ("\n- " in unreleased) == (f"To be {DOCUMENT['info']['version']}." in unreleased)


def _written(document: Document, folder: Path) -> Path:
    path = folder / "openapi.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
