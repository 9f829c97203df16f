"""bin/bench measures what it says."""

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


def test_an_overload_that_is_not_stood_is_a_fault() -> None:
    """Under 0.8 of the best with patient clients, over 2 s until all is normal, or no word on health."""
    good = Load("x", Offer(4.0, patient=True), 1, 1, 0, 1, 2.0, 9, 0, 1, ratio=0.8)
    hasty = evolve(good, offer=Offer(4.0, patient=False), ratio=0.5)
    assert shortfalls([good, hasty]) == []
    bad = [evolve(good, ratio=0.79), evolve(hasty, back=2.25), evolve(good, failed=1)]
    assert [len(shortfalls([one])) for one in bad] == [1, 1, 1]


def test_a_figure_that_grows_is_a_fault() -> None:
    """Memory may grow by a tenth of a MiB in a minute, a file descriptor in ten minutes."""
    assert leaks([Growth("memory, MiB", 85, 88, 88, 0.09), Growth("file descriptors", 54, 54, 60, 0.0)]) == []
    assert len(leaks([Growth("memory, MiB", 85, 98, 98, 0.11), Growth("threads", 2, 9, 9, 0.2)])) == 2


def _bench(*options: str) -> None:
    run = subprocess.run(["bin/bench", *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
