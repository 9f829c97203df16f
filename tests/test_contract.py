"""schemathesis against the running server: what nobody thought of."""

import subprocess
import sys
from pathlib import Path

from session_service.embedded import ROOT
from tests.service import Service

SECONDS = 40


def test_schemathesis_finds_nothing(service: Service, tmp_path: Path) -> None:
    """Examples, coverage, fuzzing and stateful tests, with all checks on, find no fault."""
    command: list[str | Path] = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", ROOT / "tests" / "schemathesis.toml", "run", ROOT / "openapi.yaml"]
    command += ["--url", service.url, "--checks", "all", "--max-time", str(SECONDS), "--seed", "20261123"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in run.stdout
    assert "Tested: 5" in run.stdout
