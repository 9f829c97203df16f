"""Tests of bin/audit and of the lock files."""

import re
import subprocess
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.setup.audit import findings, locked

LOCKS = ROOT / "requirements"
WANTED = {"attrs", "redis"}
GOOD = [{"name": "attrs", "version": "1", "vulns": []}, {"name": "redis", "version": "1", "vulns": []}]


def test_a_complete_report_has_no_findings() -> None:
    """A report with every package and no vulnerability has no findings."""
    assert findings({"dependencies": GOOD}, WANTED) == []


def test_a_skipped_package_is_a_finding() -> None:
    """A package that the report skips or lacks is a finding."""
    skipped = [{"name": name, "skip_reason": "not found"} for name in ("attrs", "redis")]
    assert findings({"dependencies": [GOOD[0], skipped[1]]}, WANTED) == ["redis: not audited"]
    assert findings({"dependencies": skipped}, WANTED) == ["attrs: not audited", "redis: not audited"]
    assert findings({"dependencies": []}, WANTED) == ["attrs: not audited", "redis: not audited"]


def test_a_vulnerability_is_a_finding() -> None:
    """A vulnerability is reported by package and id."""
    bad = {"name": "redis", "version": "1", "vulns": [{"id": "PYSEC-2023-45"}]}
    assert findings({"dependencies": [GOOD[0], bad]}, WANTED) == ["redis: PYSEC-2023-45"]


def test_every_locked_package_is_audited() -> None:
    """Every package of the lock file is audited, except those for other platforms."""
    lines = (ROOT / "requirements" / "service.lock").read_text().splitlines()
    packages = [line for line in lines if line and line[0] not in " #"]
    names = {line.split("==")[0] for line in packages if ";" not in line}
    found = locked(ROOT / "requirements" / "service.lock")
    assert names <= found
    assert len(names) > 20
    assert "tzdata" not in found


@pytest.mark.parametrize("lock", ["service.lock", "serve.lock", "dev.lock"])
def test_lock_files_have_fixed_database_drivers(lock: str) -> None:
    """Lock files have the psycopg releases that fix lost connections after a cancellation."""
    pins = dict(
        re.findall(r"^(psycopg[a-z-]*)(?:\[\S+\])?==([0-9.]+)", (LOCKS / lock).read_text(), re.MULTILINE)
    )
    versions = {name: tuple(map(int, version.split("."))) for name, version in pins.items()}
    assert versions["psycopg"] >= (3, 3, 9)
    assert versions["psycopg-pool"] >= (3, 3, 3)


def test_the_audit_fails_on_an_unknown_package(tmp_path: Path) -> None:
    """bin/audit fails on an unknown package."""
    lock = tmp_path / "lock"
    lock.write_text("session-service-unknown-package==1.0 --hash=sha256:" + 64 * "0" + "\n")
    run = subprocess.run([ROOT / "bin" / "audit", lock], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "session-service-unknown-package: not audited" in run.stdout
