"""The client that openapi-typescript and openapi-fetch make of the contract."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.support.conformance import DOCUMENT
from tests.support.issuer import KEY
from tests.support.service import Service
from tests.verify.clients import programs

PROGRAMS = ["life.ts", "guide.ts", "harness.ts", "network.ts", "device.ts"]

pytestmark = pytest.mark.needs("node")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, installed beside the programs that use it."""
    house = tmp_path_factory.mktemp("typescript-client")
    modules = house / "node_modules"
    modules.mkdir()
    client = modules / "session-service-client"
    subprocess.run([ROOT / "bin" / "client", "typescript", client], check=True, capture_output=True)
    for name in ("openapi-fetch", "openapi-typescript-helpers", "@types", "undici-types"):
        (modules / name).symlink_to(ROOT / "contract" / "node_modules" / name)
    (house / "package.json").write_text('{"type": "module"}')
    for name in PROGRAMS:
        shutil.copy(programs.HERE / name, house)
    (house / "attempt.ts").write_text(programs.guide("typescript"))
    return house


@pytest.fixture(scope="module")
def compiled(house: Path) -> Path:
    """The programs as JavaScript, from a compiler that is told to be strict."""
    options = json.loads((ROOT / "contract" / "clients" / "typescript" / "tsconfig.json").read_text())
    options["compilerOptions"] |= {"types": ["node"], "declaration": False}
    (house / "tsconfig.json").write_text(json.dumps(options | {"files": PROGRAMS}))
    tsc = ROOT / "contract" / "node_modules" / ".bin" / "tsc"
    built = subprocess.run([tsc, "-p", house], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout
    return house


def test_its_types_are_the_contracts(house: Path) -> None:
    """Each component has a type of its own name, and none of them is any or unknown."""
    text = (house / "node_modules" / "session-service-client" / "schema.d.ts").read_text()
    names = set(re.findall(r"^export type (\w+) = components\['schemas'\]", text, re.MULTILINE))
    assert names == DOCUMENT["components"]["schemas"].keys()
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("[name: string]: unknown;", "")
    assert re.findall(r"\b(?:any|unknown)\b(?!\")", code) == []


def test_its_version_is_the_contracts(house: Path) -> None:
    """The package says which contract it is made of."""
    package = json.loads((house / "node_modules" / "session-service-client" / "package.json").read_text())
    assert package["version"] == DOCUMENT["info"]["version"]


def test_a_whole_life(compiled: Path, service: Service) -> None:
    """Start, save, conflict and retry, expiry, list and completion, with types as the contract has them."""
    seen = programs.run(compiled, service, ["node", "life.js", "URL"])
    assert seen >= programs.REACHED


def test_the_guide_loses_nothing(compiled: Path, service: Service) -> None:
    """Its client keeps every answer, or tells which, whatever network, device and answers do."""
    command = ["node", "guide.js", "URL"]
    seen = programs.run(compiled, service, command, programs.bad_network)
    assert seen >= {
        ("saveAnswers", 200),
        ("saveAnswers", 409),
        ("saveAnswers", 410),
        ("completeSession", 200),
    }


@pytest.mark.parametrize("scenario", programs.NETWORK)
def test_the_guide_on_a_bad_network(compiled: Path, service: Service, scenario: str) -> None:
    """Its client loses no answer and never rejects, whatever replies: network.ts describes each scenario."""
    arguments = programs.NETWORK[scenario]
    programs.run_scenario(compiled, service, ["node", "network.js"], scenario, *arguments)


@pytest.mark.parametrize("scenario", [*programs.DEVICE, "insecure_page", "slow_decision"])
def test_the_guide_on_a_bad_device(compiled: Path, service: Service, scenario: str) -> None:
    """Its client loses no answer and never rejects: device.ts describes each scenario."""
    programs.run_scenario(compiled, service, ["node", "device.js"], scenario)


def test_the_guide_asks_for_a_new_token(compiled: Path, guarded: Service) -> None:
    """A 401 says that a token is needed, and nothing is lost until there is one."""
    tokens = KEY.token("typescript"), KEY.token("typescript", exp=1)
    programs.run_scenario(compiled, guarded, ["node", "network.js"], "token", *tokens, "typescript")
