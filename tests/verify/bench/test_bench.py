"""Tests of bin/bench: its measurements and its verdicts."""

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve

from dev.bench.overload import Load, Offer, shortfalls
from dev.bench.soak import Growth, leaks
from dev.reaper import ROOT


@pytest.mark.needs("wrk")
def test_a_short_run_measures_every_target(tmp_path: Path) -> None:
    """A run measures each operation on each target, with a plausible rate, CPU time and memory."""
    results, picture = tmp_path / "results.json", tmp_path / "picture.svg"
    _bench(
        *("--targets", "hypercorn,uvicorn,fastapi", "--operations", "put,get hit"),
        *("--rounds", "1", "--seconds", "1", "--results", str(results), "--picture", str(picture)),
    )
    measured = json.loads(results.read_text())["measurements"]
    found = {(one["target"], one["case"]["operation"]) for one in measured}
    targets = ("hypercorn", "uvicorn", "fastapi")
    assert found == {(target, operation) for target in targets for operation in ("put", "get hit")}
    for one in measured:
        # A process has at most a second of each processor's time in a second.
        assert 0 < one["cpu"] * one["rate"] < 2.5e6
        assert 20 < one["memory"] < 500
    assert "svg" in ET.parse(picture).getroot().tag  # noqa: S314 - the file is our own


def test_shortfalls_under_overload_are_found() -> None:
    """Under overload, a ratio below 0.8, a recovery over 2 s and failed health checks are shortfalls."""
    good = Load("x", Offer(4.0, patient=True), 1, 1, 0, 1, 2.0, 9, 0, 1, ratio=0.8)
    impatient = evolve(good, offer=Offer(4.0, patient=False), ratio=0.5)
    assert shortfalls([good, impatient]) == []
    bad = [evolve(good, ratio=0.79), evolve(impatient, back=2.25), evolve(good, failed=1)]
    assert [len(shortfalls([one])) for one in bad] == [1, 1, 1]


def test_leaks_are_found() -> None:
    """A growth of memory by over 0.1 MiB a minute, or of file descriptors by over 0.1, is a leak."""
    assert leaks([Growth("memory, MiB", 85, 88, 88, 0.09), Growth("file descriptors", 54, 54, 60, 0.0)]) == []
    assert len(leaks([Growth("memory, MiB", 85, 98, 98, 0.11), Growth("threads", 2, 9, 9, 0.2)])) == 2


def _bench(*options: str) -> None:
    run = subprocess.run(["bin/bench", *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
