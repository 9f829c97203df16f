"""The audit of the dependencies: what it must not take for good news."""

import re
import subprocess
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.setup.audit import judge, locked

LOCKS = ROOT / "requirements"
WANTED = {"attrs", "redis"}
GOOD = [{"name": "attrs", "version": "1", "vulns": []}, {"name": "redis", "version": "1", "vulns": []}]


def test_every_package_is_counted() -> None:
    """A report that has every package without a vulnerability is good."""
    assert judge({"dependencies": GOOD}, WANTED) == []


def test_a_package_that_was_skipped_is_a_fault() -> None:
    """What the tool could not look up is not clean, and an audit that skipped everything fails."""
    skipped = [{"name": name, "skip_reason": "not found"} for name in ("attrs", "redis")]
    assert judge({"dependencies": [GOOD[0], skipped[1]]}, WANTED) == ["redis: not audited"]
    assert judge({"dependencies": skipped}, WANTED) == ["attrs: not audited", "redis: not audited"]
    assert judge({"dependencies": []}, WANTED) == ["attrs: not audited", "redis: not audited"]


def test_a_vulnerability_is_named() -> None:
    """What is known of a package is told by its id."""
    bad = {"name": "redis", "version": "1", "vulns": [{"id": "PYSEC-2023-45"}]}
    assert judge({"dependencies": [GOOD[0], bad]}, WANTED) == ["redis: PYSEC-2023-45"]


def test_the_lock_files_are_read_whole() -> None:
    """Every package that the container installs is asked about, and none that is for other platforms."""
    lines = (ROOT / "requirements" / "service.lock").read_text().splitlines()
    packages = [line for line in lines if line and line[0] not in " #"]
    names = {line.split("==")[0] for line in packages if ";" not in line}
    found = locked(ROOT / "requirements" / "service.lock")
    assert names <= found
    assert len(names) > 20
    assert "tzdata" not in found


@pytest.mark.parametrize("lock", ["service.lock", "serve.lock", "dev.lock"])
def test_no_lock_has_a_driver_that_loses_connections(lock: str) -> None:
    """Before these psycopg could lose what was cancelled, and its pool a connection."""
    pins = dict(
        re.findall(r"^(psycopg[a-z-]*)(?:\[\S+\])?==([0-9.]+)", (LOCKS / lock).read_text(), re.MULTILINE)
    )
    versions = {name: tuple(map(int, version.split("."))) for name, version in pins.items()}
    assert versions["psycopg"] >= (3, 3, 9)
    assert versions["psycopg-pool"] >= (3, 3, 3)


def test_the_command_fails_where_nothing_can_be_asked(tmp_path: Path) -> None:
    """A package that nobody has heard of is not audited, and bin/audit says so."""
    lock = tmp_path / "lock"
    lock.write_text("session-service-was-never-there==1.0 --hash=sha256:" + 64 * "0" + "\n")
    run = subprocess.run([ROOT / "bin" / "audit", lock], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "session-service-was-never-there: not audited" in run.stdout
