"""The client that openapi-python-client makes of the contract."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.support.conformance import DOCUMENT
from tests.support.issuer import KEY
from tests.support.service import Service
from tests.verify.clients import programs

OPERATIONS = {
    "sessions": {
        "complete_session",
        "get_session",
        "list_sessions",
        "save_answers",
        "start_session",
        "update_progress",
    },
    "health": {"get_health", "get_liveness", "get_readiness"},
}

PROGRAMS = ("life.py", "guide.py", "harness.py", "network.py", "device.py")
RUN = (sys.executable, "-W", "error")

# Prints where a public name of the client is typed Any.
ASK_FOR_ANY = """
import inspect, pkgutil
from importlib import import_module
from session_service_client import models
from session_service_client.api import health, sessions

for package in (sessions, health):
    for module in pkgutil.iter_modules(package.__path__):
        operation = import_module(f"{package.__name__}.{module.name}")
        for name in ("sync", "sync_detailed", "asyncio", "asyncio_detailed"):
            if "Any" in str(inspect.signature(getattr(operation, name))):
                print(module.name, name)
for name in models.__all__:
    if "Any" in str(vars(models)[name].__annotations__):
        print(name)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, beside the programs that use it."""
    house = tmp_path_factory.mktemp("python-client")
    subprocess.run([ROOT / "bin" / "client", "python", house], check=True, capture_output=True)
    for name in PROGRAMS:
        shutil.copy(programs.HERE / name, house)
    (house / "attempt.py").write_text(programs.guide("python"))
    return house


def test_its_types_are_right(house: Path) -> None:
    """The client, its users and the guide's code pass mypy --strict."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", ".mypy_cache"]
    command += ["-p", "session_service_client"]
    for name in PROGRAMS:
        command += ["-m", name.removesuffix(".py")]
    checked = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_its_operations_are_the_contracts(house: Path) -> None:
    """A function for each operationId, in a module for each tag."""
    api = house / "session_service_client" / "api"
    assert {tag: {file.stem for file in (api / tag).glob("[!_]*.py")} for tag in OPERATIONS} == OPERATIONS
    assert {file.parent.name for file in api.glob("*/[!_]*.py")} == OPERATIONS.keys()


def test_its_models_are_the_contracts(house: Path) -> None:
    """Each class is a named component of the contract, none was named by the generator."""
    text = (house / "session_service_client" / "models" / "__init__.py").read_text()
    listed = text.split("__all__ = (")[1]
    names = {line.strip(' ",') for line in listed.splitlines() if '"' in line}
    assert len(names) > 20
    assert names <= DOCUMENT["components"]["schemas"].keys()


def test_nothing_is_any(house: Path) -> None:
    """No parameter, no result and no field is of a type that nobody knows."""
    run = subprocess.run(
        [sys.executable, "-c", ASK_FOR_ANY], cwd=house, capture_output=True, text=True, check=True
    )
    assert run.stdout == ""


def test_a_whole_life(house: Path, service: Service) -> None:
    """Start, save, conflict and retry, expiry, list and completion, with types as the contract has them."""
    seen = programs.run(house, service, [sys.executable, "-W", "error", "life.py", "URL"])
    assert seen >= programs.REACHED | {("startSession", 422)}


def test_the_guide_loses_nothing(house: Path, service: Service) -> None:
    """Its client keeps every answer, or tells which, whatever network, device and answers do."""
    command = [sys.executable, "-W", "error", "guide.py", "URL", "attempt.json"]
    seen = programs.run(house, service, command, programs.bad_network)
    assert seen >= {
        ("saveAnswers", 200),
        ("saveAnswers", 409),
        ("saveAnswers", 410),
        ("completeSession", 200),
    }


@pytest.mark.parametrize("scenario", programs.NETWORK)
def test_the_guide_on_a_bad_network(house: Path, service: Service, scenario: str) -> None:
    """Its client loses no answer and raises nothing, whatever replies: network.py describes each scenario."""
    arguments = programs.NETWORK[scenario]
    programs.run_scenario(house, service, [*RUN, "network.py"], scenario, *arguments)


@pytest.mark.parametrize("scenario", programs.DEVICE)
def test_the_guide_on_a_bad_device(house: Path, service: Service, scenario: str) -> None:
    """Its client loses no answer and raises nothing: device.py describes each scenario."""
    programs.run_scenario(house, service, [*RUN, "device.py"], scenario)


def test_the_guide_asks_for_a_new_token(house: Path, guarded: Service) -> None:
    """A 401 says that a token is needed, and nothing is lost until there is one."""
    tokens = KEY.token("python"), KEY.token("python", exp=1)
    programs.run_scenario(house, guarded, [*RUN, "network.py"], "token", *tokens, "python")
