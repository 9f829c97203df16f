"""Tests of clients that were generated from the released contract 1.2, against this service.

They send what they sent before, integer ids and answers that are texts or lists of texts, and get what they
got before.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.support.service import Service
from tests.verify.clients import programs

CONTRACT = ROOT / "contract" / "released-1.2.yaml"
MODULES = ROOT / "contract" / "node_modules"


def test_python_client_of_1_2(tmp_path: Path, service: Service) -> None:
    """The Python client of 1.2 starts, saves, retries a conflict, lists, completes and sees expiry."""
    _generate("python", tmp_path / "client")
    shutil.copy(programs.HERE / "life_1_2.py", tmp_path / "client")
    seen = programs.run(tmp_path / "client", service, [sys.executable, "-W", "error", "life_1_2.py", "URL"])
    assert seen >= programs.REACHED | {("startSession", 422)}


@pytest.mark.needs("node")
def test_typescript_client_of_1_2(tmp_path: Path, service: Service) -> None:
    """The TypeScript client of 1.2 starts, saves, retries a conflict, lists, completes and sees expiry."""
    modules = tmp_path / "node_modules"
    _generate("typescript", modules / "session-service-client")
    for name in ("openapi-fetch", "openapi-typescript-helpers", "@types", "undici-types"):
        (modules / name).symlink_to(MODULES / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(programs.HERE / "life_1_2.ts", tmp_path)
    options = json.loads((ROOT / "contract" / "clients" / "typescript" / "tsconfig.json").read_text())
    options["compilerOptions"] |= {"types": ["node"], "declaration": False}
    (tmp_path / "tsconfig.json").write_text(json.dumps(options | {"files": ["life_1_2.ts"]}))
    built = subprocess.run(
        [MODULES / ".bin" / "tsc", "-p", tmp_path], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout
    assert programs.run(tmp_path, service, ["node", "life_1_2.js", "URL"]) >= programs.REACHED


def _generate(language: str, folder: Path) -> None:
    """Generate the client of contract 1.2."""
    subprocess.run([ROOT / "bin" / "client", language, folder, CONTRACT], check=True, capture_output=True)
