"""The last release, from the history of this repository.

To release is to copy openapi.yaml over contract/released.yaml (CONTRIBUTING.md): the last commit that did it
is the last release.
"""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from dev.reaper import ROOT

CONTRACT = "contract/released.yaml"


def last_release() -> str:
    """Return the commit of the last release."""
    # A shallow clone shows its oldest commit as the one that added every file.
    assert _git("rev-parse", "--is-shallow-repository") == b"false\n", (
        "the history is missing: git fetch --unshallow"
    )
    commit = _git("log", "-1", "--format=%H", "--", CONTRACT).decode().strip()
    assert _git("show", f"{commit}:openapi.yaml") == (ROOT / CONTRACT).read_bytes(), f"{commit} is no release"
    return commit


def check_out(commit: str, folder: Path) -> None:
    """Write the files that serve of a commit into a folder."""
    archive = _git("archive", commit, "session_service", "sql", "openapi.yaml", "pyproject.toml")
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
