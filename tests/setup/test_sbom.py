"""Tests of bin/sbom: it lists every locked package with its hashes, in the format of CycloneDX."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from dev.reaper import ROOT
from session_service.api import contract

LOCK = (ROOT / "requirements" / "service.lock").read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file that bin/sbom writes."""
    file = tmp_path_factory.mktemp("sbom") / "sbom.json"
    subprocess.run(["bin/sbom", file], cwd=ROOT, capture_output=True, check=True)
    return file.read_text()


def test_the_sbom_is_valid(text: str) -> None:
    """The file conforms to the schema of CycloneDX 1.6, and names this version of the service."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    subject = json.loads(text)["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("session-service", contract.version())


def test_the_sbom_has_every_locked_package(text: str) -> None:
    """Each package of the lock has its version and all its hashes in the file, and there is no other one."""
    locked = {
        (name, version): set(re.findall(r"sha256:([0-9a-f]{64})", rest))
        for name, version, rest in re.findall(
            r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^ ]+)(.*(?:\n +--hash.*)+)", LOCK, re.MULTILINE
        )
    }
    assert len(locked) > 30
    assert {(one["name"], one["version"]): _hashes(one) for one in json.loads(text)["components"]} == locked


def test_the_sbom_is_reproducible(text: str) -> None:
    """Two runs write the same bytes, one of them to standard output."""
    again = subprocess.run([ROOT / "bin" / "sbom"], cwd=Path("/"), capture_output=True, check=True).stdout
    assert json.loads(again) == json.loads(text)


def _hashes(component: dict[str, Any]) -> set[str]:
    links = component["externalReferences"]
    return {one["content"] for link in links for one in link.get("hashes", []) if one["alg"] == "SHA-256"}
