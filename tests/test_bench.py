"""bin/bench measures what it says."""

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from session_service.keeper import ROOT


@pytest.mark.needs("wrk")
def test_a_short_run_tells_what_each_target_costs(tmp_path: Path) -> None:
    """Every target and operation asked for has its row, with a rate, CPU and memory that can be true."""
    results, picture = tmp_path / "results.json", tmp_path / "picture.svg"
    _bench(
        *("--targets", "hypercorn,uvicorn,fastapi", "--operations", "put,get hit"),
        *("--rounds", "1", "--seconds", "1", "--results", str(results), "--picture", str(picture)),
    )
    measured = json.loads(results.read_text())["measurements"]
    told = {(one["target"], one["case"]["operation"]) for one in measured}
    targets = ("hypercorn", "uvicorn", "fastapi")
    assert told == {(target, operation) for target in targets for operation in ("put", "get hit")}
    for one in measured:
        # A process has at most a second of each processor's time in a second.
        assert 0 < one["cpu"] * one["rate"] < 2.5e6
        assert 20 < one["memory"] < 500
    assert "svg" in ET.parse(picture).getroot().tag  # noqa: S314 - the file is our own


def _bench(*options: str) -> None:
    run = subprocess.run(["bin/bench", *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
