"""Tests of the generated Python client (openapi-python-client) and of the class `Attempt` in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.conformance import DOCUMENT
from tests.support.growth import grown
from tests.support.issuer import KEY
from tests.support.service import Service
from tests.verify.clients import programs
from tests.verify.clients.properties import check_promise, steps

OPERATIONS = {
    "sessions": {
        "complete_session",
        "get_session",
        "export_answers",
        "list_session_events",
        "list_sessions",
        "save_answers",
        "start_session",
        "update_progress",
    },
    "orders": {
        "change_deadline",
        "change_deadlines",
        "pause_session",
        "pause_sessions",
        "reopen_session",
        "resume_session",
        "resume_sessions",
    },
    "erasing": {"erase_session", "erase_sessions"},
    "events": {"list_events"},
    "health": {"get_health", "get_liveness", "get_readiness", "get_version"},
}

PROGRAMS = (
    "life.py",
    "exam_room.py",
    "learners.py",
    "harness.py",
    "network.py",
    "device.py",
    "faults.py",
    "keeping.py",
    "background.py",
    "processes.py",
    "owners.py",
    "sharing.py",
    "teaching.py",
    "anything.py",
)
KEEPING = [
    "ran_again",
    "background_shared",
    "background_ends",
    "any_text",
    "own_store",
    "endless_reply",
]
FAULTS = [
    "corrected",
    "full_session",
    "large_answers",
    "asked_once",
    "endless_token",
    "endless_store",
    "stored_later",
    "late_decision",
    "small_proxy",
    "read_again",
    "lost_after_the_end",
]
SHARING = [
    "owner_killed",
    "owner_frozen",
    "owner_replaced",
    "owner_unstored",
    "owner_anew",
    "owner_of_two",
    "owner_killed_writing",
    "crowd",
    "threads",
    "not_blocked",
    "closed",
    "forked",
    "another_user",
    "inbox",
    "older_answer",
    "no_lock",
    "hand_in_unstored",
    "no_folder",
    "locked_later",
]
RUN = (sys.executable, "-W", "error")

# Prints the public names of the client whose type is Any, except the members of a JSON object.
FIND_ANY = """
import inspect, pkgutil
from importlib import import_module
from session_service_client import models
from session_service_client.api import events, health, orders, sessions

JSON = ("Answers", "Annotations", "AnswerChanges", "AnnotationChanges", "Metadata")
for package in (sessions, orders, events, health):
    for module in pkgutil.iter_modules(package.__path__):
        operation = import_module(f"{package.__name__}.{module.name}")
        for name in ("sync", "sync_detailed", "asyncio", "asyncio_detailed"):
            if "Any" in str(inspect.signature(getattr(operation, name))):
                print(module.name, name)
for name in models.__all__:
    for field, kind in vars(models)[name].__annotations__.items():
        if "Any" in str(kind) and (field != "additional_properties" or name not in JSON):
            print(f"{name}.{field}")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client and the programs that use it."""
    project = tmp_path_factory.mktemp("python-client")
    subprocess.run([ROOT / "bin" / "client", "python", project], check=True, capture_output=True)
    for name in PROGRAMS:
        shutil.copy(programs.HERE / name, project)
    return project


def test_types_are_correct(project: Path) -> None:
    """The client and its users pass mypy --strict."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", ".mypy_cache"]
    command += ["-p", "session_service_client"]
    for name in PROGRAMS:
        command += ["-m", name.removesuffix(".py")]
    checked = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_types_are_correct_on_windows(project: Path) -> None:
    """The client passes mypy --strict also with the modules of Windows, where it locks its file by others."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--platform", "win32"]
    command += ["--cache-dir", ".mypy_cache_win32", "-p", "session_service_client"]
    checked = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_readme_is_the_guide(project: Path) -> None:
    """The package's README is docs/client.md, with no link that leads out of the package."""
    readme = (project / "README.md").read_text()
    assert readme.startswith((ROOT / "docs" / "client.md").read_text().partition("\n")[0])
    assert "](" not in readme


def test_operations_are_those_of_the_contract(project: Path) -> None:
    """The client has a function for each operationId, in a module for each tag."""
    api = project / "session_service_client" / "api"
    assert {tag: {file.stem for file in (api / tag).glob("[!_]*.py")} for tag in OPERATIONS} == OPERATIONS
    assert {file.parent.name for file in api.glob("*/[!_]*.py")} == OPERATIONS.keys()


def test_models_are_those_of_the_contract(project: Path) -> None:
    """Each class is a named component of the contract."""
    text = (project / "session_service_client" / "models" / "__init__.py").read_text()
    listed = text.split("__all__ = (")[1]
    names = {line.strip(' ",') for line in listed.splitlines() if '"' in line}
    assert len(names) > 20
    schemas = DOCUMENT["components"]["schemas"]
    # The generator names an enum within a component after the component and the property.
    enums = {
        name + field[0].upper() + field[1:]
        for name, schema in schemas.items()
        for field, kind in schema.get("properties", {}).items()
        if "enum" in kind
    }
    assert names <= schemas.keys() | enums


def test_only_json_values_are_any(project: Path) -> None:
    """Only answers, annotations and metadata, which are any JSON, have the type Any."""
    run = subprocess.run(
        [sys.executable, "-c", FIND_ANY], cwd=project, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["SaveAnswer.answer", "SaveAnswer.annotation"]


def test_life_of_a_session(project: Path, service: Service) -> None:
    """The client starts, saves, retries a conflict, lists, completes and sees expiry, with typed results."""
    seen = programs.run(project, service, [sys.executable, "-W", "error", "life.py", "URL"])
    assert seen >= programs.REACHED_2 | {("startSession", 422)}


def test_growth(project: Path, service: Service) -> None:
    """A reply with one more field in each object breaks nothing."""
    command = [sys.executable, "-W", "error", "life.py", "URL"]
    seen = programs.run(project, service, command, change=grown)
    assert seen >= programs.REACHED_2 | {("startSession", 422)}


def test_an_attempt_loses_no_answer(project: Path, service: Service) -> None:
    """Attempts keep or report every answer on a bad network: learners.py describes what learners do."""
    command = [sys.executable, "-W", "error", "learners.py", "URL", "attempt.json"]
    seen = programs.run(project, service, command, programs.bad_network)
    assert seen >= {
        ("saveAnswers", 200),
        ("saveAnswers", 409),
        ("saveAnswers", 410),
        ("completeSession", 200),
    }


@pytest.mark.parametrize("scenario", programs.NETWORK)
def test_an_attempt_on_a_bad_network(project: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """An attempt loses no answer and raises nothing: network.py describes each scenario."""
    arguments = programs.NETWORK[scenario]
    programs.run_scenario(project, service, migrated, [*RUN, "network.py"], scenario, *arguments)


@pytest.mark.parametrize("scenario", programs.DEVICE)
def test_an_attempt_on_a_bad_device(project: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """An attempt loses no answer and raises nothing: device.py describes each scenario."""
    programs.run_scenario(project, service, migrated, [*RUN, "device.py"], scenario)


@pytest.mark.parametrize("scenario", [*programs.KEEPING, *KEEPING])
def test_an_attempt_keeps_every_answer(
    project: Path, service: Service, migrated: Urls, scenario: str
) -> None:
    """An attempt keeps every answer: keeping.py and background.py describe each scenario."""
    program = "background.py" if scenario.startswith("background") else "keeping.py"
    programs.run_scenario(project, service, migrated, [*RUN, program], scenario)


@pytest.mark.parametrize("scenario", FAULTS)
def test_an_attempt_survives_faults(project: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """Refused answers and functions that fail stop no other answer: faults.py describes each scenario."""
    programs.run_scenario(project, service, migrated, [*RUN, "faults.py"], scenario)


@pytest.mark.parametrize("scenario", programs.TEACHING)
def test_a_teacher_changes_the_time(project: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """An attempt follows a pause, an extension, an end and a reopening: teaching.py describes each."""
    programs.run_scenario(project, service, migrated, [*RUN, "teaching.py"], scenario)


@pytest.mark.parametrize("devices", [1, 2])
def test_whatever_fails(project: Path, service: Service, migrated: Urls, devices: int) -> None:
    """Whatever fails, the answer given last is stored, or the attempt says that it is not saved."""
    check_promise([*RUN, "anything.py"], project, service, migrated, steps(devices))


@pytest.mark.parametrize("scenario", SHARING)
def test_processes_share_an_attempt(project: Path, service: Service, migrated: Urls, scenario: str) -> None:
    """Processes and threads share an attempt: owners.py and sharing.py describe each scenario."""
    program = "owners.py" if scenario.startswith("owner") else "sharing.py"
    programs.run_scenario(project, service, migrated, [*RUN, program], scenario)


def test_an_attempt_asks_for_tokens(project: Path, service_with_tokens: Service, migrated: Urls) -> None:
    """An attempt asks for a token before its first request and after a 401."""
    tokens = KEY.token("asked"), KEY.token("asked", exp=1)
    command = [*RUN, "keeping.py"]
    programs.run_scenario(project, service_with_tokens, migrated, command, "asked_token", *tokens, "asked")


def test_an_attempt_waits_for_a_new_token(
    project: Path, service_with_tokens: Service, migrated: Urls
) -> None:
    """After a 401 an attempt loses nothing until it has a client with a new token."""
    tokens = KEY.token("python"), KEY.token("python", exp=1)
    programs.run_scenario(
        project, service_with_tokens, migrated, [*RUN, "network.py"], "token", *tokens, "python"
    )
