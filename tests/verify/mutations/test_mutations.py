"""Each mutation is detected by its test."""

import os
import re
import signal
import subprocess
import warnings
from pathlib import Path

import pytest

from tests.support.service import copy_repository
from tests.verify.mutations import MUTATIONS
from tests.verify.mutations.mutation import Mutation


@pytest.mark.filterwarnings("default:survived one run")
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_detected(mutation: Mutation, tmp_path: Path) -> None:
    """A copy of the service with the mutation fails the test that is named beside it.

    A mutation that changes only the order of events can survive a run: it gets a second one, and a warning.
    """
    mutation.apply(copy_repository(tmp_path))
    status, output = _run(mutation.test, tmp_path)
    if status == 0:
        warnings.warn(f"survived one run: {mutation.test} depends on timing", stacklevel=1)
        status, output = _run(mutation.test, tmp_path)
    assert status == 1, output
    assert re.search(r"^1 failed", output, re.MULTILINE), output


def _run(test: str, folder: Path) -> tuple[int, str]:
    """Run the test in the copy; return its exit status and output."""
    command = [".venv/bin/python", "-m", "pytest", "-x", "-p", "no:cacheprovider", test]
    # A process group of its own, so that every process of a test that hangs can be ended.
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            output, _ = run.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            raise
    return run.returncode, output
